// The buyer's page. The link's token says who is buying; it is taken out of the address bar at once, so that it is
// neither bookmarked nor shared. This tab keeps it for as long as it is good, so that the page can be loaded again.

const appId = location.pathname.split("/")[2];
const inLink = new URLSearchParams(location.search).get("t");
if (inLink) {
  sessionStorage.setItem(`link ${appId}`, inLink);
  history.replaceState(null, "", location.pathname);
}
const token = inLink ?? sessionStorage.getItem(`link ${appId}`) ?? "";

const byId = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat();

async function call(action, body) {
  const answer = await fetch(`/buy/${encodeURIComponent(appId)}/${action}`, {
    method: action === "offer" ? "GET" : "POST",
    headers: { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const message = document.message ?? `The server answered ${answer.status}. Please try again.`;
    throw Object.assign(new Error(message), { app: document.app, code: document.error });
  }
  return document;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function money(price) {
  if (price.unit_amount === null || !price.currency) {
    return "Price at the checkout";
  }
  // The decimals are Stripe's: for some currencies, such as ISK, the browser's own are others.
  const format = new Intl.NumberFormat(undefined, {
    style: "currency",
    currency: price.currency.toUpperCase(),
    minimumFractionDigits: price.decimals,
    maximumFractionDigits: price.decimals,
    trailingZeroDisplay: "stripIfInteger",
  });
  return format.format(price.unit_amount / 10 ** price.decimals);
}

function priceLine(price, place) {
  const line = element("p", { className: "price" }, place ? "or " : "", element("strong", {}, money(price)));
  const every = price.interval_count > 1 ? `every ${price.interval_count} ${price.interval}s` : `per ${price.interval}`;
  line.append(price.interval ? ` ${every}` : "");
  return line;
}

const EACH = { "1d": "a day", "7d": "a week", "30d": "a month", "1mo": "a month", "1h": "an hour" };

// Features are words of apps.json, such as image_generation.
const inWords = (feature) => (feature.charAt(0).toUpperCase() + feature.slice(1)).replaceAll(/[_-]/g, " ");

function allowances({ features, limits }) {
  const lines = features.map(inWords);
  // Only what apps.json states is a promise: null is "unlimited" in so many words, a missing key says nothing.
  const inLimits = {
    max_budget: (budget) =>
      budget === null
        ? "No budget limit"
        : `$${numbers.format(budget)} of usage ${EACH[limits.budget_duration] ?? `per ${limits.budget_duration}`}`,
    rpm_limit: (rpm) => (rpm === null ? "Any number of requests" : `${numbers.format(rpm)} requests a minute`),
    tpm_limit: (tpm) => (tpm === null ? "Any number of tokens" : `${numbers.format(tpm)} tokens a minute`),
    models: (models) => (models === null ? "All models" : `Models: ${models.join(", ")}`),
  };
  for (const [name, inWordsOf] of Object.entries(inLimits)) {
    if (name in limits) {
      lines.push(inWordsOf(limits[name]));
    }
  }
  return element("ul", {}, ...lines.map((line) => element("li", {}, line)));
}

function showProblem(error) {
  const problem = byId("problem");
  problem.textContent = error.message;
  problem.hidden = false;
  if (error.app) {
    showWayBack(error.app);
  }
}

function showWayBack(app) {
  const back = byId("back");
  back.href = app.url;
  back.textContent = `Back to ${app.name}`;
  back.hidden = false;
}

// Send the person on to Stripe; while that happens no second click is possible.
async function go(action, body, field) {
  const buttons = [...document.querySelectorAll("button")];
  buttons.forEach((button) => (button.disabled = true));
  byId("problem").hidden = true;
  try {
    location.assign((await call(action, body))[field]);
  } catch (error) {
    showProblem(error);
    buttons.forEach((button) => (button.disabled = false));
    if (error.code === "price_changed" || error.code === "price_missing") {
      show(await call("offer"));
    }
  }
}

// What tells a price from the others of its tier: how often it is paid, and if that is not enough how much it is.
function priceWords(price, others) {
  const often = price.interval_count > 1 ? `every ${price.interval_count} ${price.interval}s` : `by the ${price.interval}`;
  const alike = (other) => other.interval === price.interval && other.interval_count === price.interval_count;
  const words = [price.interval ? often : "", others.some(alike) ? money(price) : ""];
  return others.length > 0 ? words.filter(Boolean).map((word) => `, ${word}`).join("") : "";
}

function priceButton(offer, tier, price) {
  const word = offer.subscribed ? "Change to" : "Get";
  const others = tier.prices.filter((other) => other !== price);
  const button = element("button", { type: "button" }, `${word} ${tier.name}${priceWords(price, others)}`);
  button.addEventListener("click", () => go("checkout", { tier: tier.id, price: price.price }, "checkout_url"));
  return button;
}

function card(offer, tier, isFirst) {
  const current = tier.id === offer.current.tier;
  const made = element("li", { className: "tier" }, element("h2", {}, tier.name));
  if (current) {
    made.setAttribute("aria-current", "true");
    made.firstChild.append(" ", element("span", { className: "here" }, "Your plan"));
  }
  made.append(...tier.prices.map(priceLine));
  if (tier.prices.length === 0) {
    const words = isFirst ? element("strong", {}, "No charge") : "Not for sale right now";
    made.append(element("p", { className: "price" }, words));
  }
  made.append(allowances(tier));
  if (!current) {
    made.append(...tier.prices.map((price) => priceButton(offer, tier, price)));
  }
  return made;
}

function standing({ current, current_name: name }) {
  const day = (at) => new Date(at * 1000).toLocaleDateString(undefined, { dateStyle: "long" });
  if (current.ends_at !== null) {
    return `You have ${name} until ${day(current.ends_at)}.`;
  }
  if (current.status === "past_due") {
    const until = current.until === null ? "" : ` You keep ${name} until ${day(current.until)}.`;
    return `The last payment failed: please check your card under “Manage billing”.${until}`;
  }
  return `You have ${name}.`;
}

function show(offer) {
  document.title = `${offer.app.name} plans`;
  byId("title").textContent = `${offer.app.name} plans`;
  byId("standing").textContent = standing(offer);
  byId("tiers").replaceChildren(...offer.tiers.map((tier, place) => card(offer, tier, place === 0)));
  const manage = byId("manage");
  manage.hidden = !offer.has_customer;
  manage.addEventListener("click", () => go("portal", undefined, "portal_url"));
  showWayBack(offer.app);
}

// Back from Stripe by the browser's own button, the page may come out of its cache with every button disabled.
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    location.reload();
  }
});

try {
  show(await call("offer"));
} catch (error) {
  byId("standing").textContent = "";
  showProblem(error);
}

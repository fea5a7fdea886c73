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
    throw Object.assign(new Error(message), { app: document.app });
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
  const format = new Intl.NumberFormat(undefined, {
    style: "currency",
    currency: price.currency.toUpperCase(),
    trailingZeroDisplay: "stripIfInteger",
  });
  // Stripe counts in the currency's smallest unit: cents for most, whole yen for JPY.
  const digits = format.resolvedOptions().maximumFractionDigits;
  return format.format(price.unit_amount / 10 ** digits);
}

function priceLine(price, place) {
  const line = element("p", { className: "price" }, place ? "or " : "", element("strong", {}, money(price)));
  line.append(price.interval ? ` per ${price.interval}` : "");
  return line;
}

// Features are words of apps.json, such as image_generation.
const inWords = (feature) => (feature.charAt(0).toUpperCase() + feature.slice(1)).replaceAll(/[_-]/g, " ");

function allowances({ features, limits }) {
  const lines = features.map(inWords);
  const each = { "1d": "a day", "7d": "a week", "30d": "a month", "1mo": "a month", "1h": "an hour" };
  lines.push(
    limits.max_budget === null
      ? "No budget limit"
      : `$${numbers.format(limits.max_budget)} of usage ${each[limits.budget_duration] ?? `per ${limits.budget_duration}`}`,
    limits.rpm_limit === null ? "Any number of requests" : `${numbers.format(limits.rpm_limit)} requests a minute`,
    limits.tpm_limit === null ? "Any number of tokens" : `${numbers.format(limits.tpm_limit)} tokens a minute`,
  );
  if (limits.models !== null) {
    lines.push(`Models: ${limits.models.join(", ")}`);
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
  }
}

function priceButton(offer, tier, price) {
  const word = offer.subscribed ? "Change to" : "Get";
  const label = [`${word} ${tier.name}`, tier.prices.length > 1 && price.interval ? `by the ${price.interval}` : ""];
  const button = element("button", { type: "button" }, label.filter(Boolean).join(", "));
  button.addEventListener("click", () =>
    go("checkout", { tier: tier.id, ...(price.interval && { interval: price.interval }) }, "checkout_url"),
  );
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
  if (isFirst && tier.prices.length === 0) {
    made.append(element("p", { className: "price" }, element("strong", {}, "No charge")));
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

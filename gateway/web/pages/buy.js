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
    throw new Error(document.message ?? `The server answered ${answer.status}.`);
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
    return "";
  }
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency: price.currency.toUpperCase() });
  // Stripe counts in the currency's smallest unit: cents for most, whole yen for JPY.
  const digits = format.resolvedOptions().maximumFractionDigits;
  const amount = format.format(price.unit_amount / 10 ** digits);
  return price.interval ? `${amount} per ${price.interval}` : amount;
}

function allowances({ features, limits }) {
  const lines = [...features];
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
  for (const price of tier.prices) {
    made.append(element("p", { className: "price" }, money(price)));
  }
  if (isFirst) {
    made.append(element("p", { className: "price" }, "Free"));
  }
  made.append(allowances(tier));
  if (current) {
    made.setAttribute("aria-current", "true");
    made.append(element("p", { className: "here" }, "Your plan"));
  } else {
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
  const back = byId("back");
  back.href = offer.app.url;
  back.hidden = false;
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

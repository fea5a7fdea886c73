// The plans page. The link's token identifies the buyer; it is removed from the address bar at once, so that it is
// neither bookmarked nor shared. This tab keeps it while it is valid, so that the page can be reloaded.

import { allowances, day, element, priceLine, priceWords, standing } from "./words.js";

const appId = location.pathname.split("/")[2];
const byId = (id) => document.getElementById(id);

// `t` is the token of the gate's link, `r` that of the page after checkout; the newer one is used.
function tokens() {
  const shown = new URLSearchParams(location.search);
  for (const [name, key] of [["t", `link ${appId}`], ["r", `change ${appId}`]]) {
    if (shown.has(name)) {
      sessionStorage.removeItem(`change ${appId}`);
      sessionStorage.setItem(key, shown.get(name));
      history.replaceState(null, "", location.pathname);
    }
  }
  return { link: sessionStorage.getItem(`link ${appId}`) ?? "", change: sessionStorage.getItem(`change ${appId}`) };
}

const { link, change } = tokens();

async function call(action, body, token = link) {
  const answer = await fetch(`/buy/${encodeURIComponent(appId)}/${action}`, {
    method: action === "offer" || action === "change" ? "GET" : "POST",
    headers: { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const message = document.message ?? `The server answered ${answer.status}. Please try again.`;
    throw Object.assign(new Error(message), { answer: document, status: answer.status });
  }
  return document;
}

function say(text) {
  byId("standing").textContent = text;
}

function showLink(id, text, url) {
  byId(id).href = url;
  byId(id).textContent = text;
  byId(id).hidden = false;
}

// An error with a status is our server's, with a message for people; any other is the browser's or the network's.
function showProblem(error) {
  const problem = byId("problem");
  problem.textContent = error.status ? error.message : "The server cannot be reached. Check your connection and try again.";
  problem.hidden = false;
  const { app, upgrade_url: upgradeUrl } = error.answer ?? {};
  if (app) {
    showLink("back", `Back to ${app.name}`, app.url);
  }
  if (error.status === 401) {
    document.querySelectorAll("button").forEach((button) => (button.hidden = true));
    showLink("again", "Open the plans again", upgradeUrl);
  }
}

// Redirect to Stripe; until then the buttons are disabled.
async function go(action, body, field) {
  const buttons = [...document.querySelectorAll("button")];
  buttons.forEach((button) => (button.disabled = true));
  byId("problem").hidden = true;
  try {
    location.assign((await call(action, body))[field]);
  } catch (error) {
    buttons.forEach((button) => (button.disabled = false));
    if (["price_changed", "price_missing"].includes(error.answer?.error)) {
      await showOffer();
    }
    showProblem(error);
  }
}

function priceButton(offer, tier, price) {
  const word = offer.subscribed ? "Change to" : "Get";
  const others = tier.prices.filter((other) => other !== price);
  const button = element("button", { type: "button" }, `${word} ${tier.name}${priceWords(price, others)}`);
  // The shown price is the one bought: if Stripe's has changed, the purchase is refused and the page reloaded.
  const { unit_amount, currency, interval, interval_count } = price;
  const wanted = { tier: tier.id, price: price.price, unit_amount, currency, interval, interval_count };
  button.addEventListener("click", () => go("checkout", wanted, "checkout_url"));
  return button;
}

// The label beside a tier's name: current, later, or required by the refused page.
function badge(offer, tier) {
  if (tier.id === offer.current.tier) {
    return "Your plan";
  }
  if (tier.id === offer.pending?.tier) {
    return `From ${day(offer.pending.at)}`;
  }
  return tier.id === offer.required_tier?.id ? "Needed" : "";
}

function card(offer, tier, isFirst) {
  const current = tier.id === offer.current.tier;
  const words = badge(offer, tier);
  const made = element("li", { className: "tier" }, element("h2", {}, tier.name));
  if (words) {
    made.firstChild.append(" ", element("span", { className: "here" }, words));
  }
  if (current) {
    made.setAttribute("aria-current", "true");
  }
  made.classList.toggle("needed", tier.id === offer.required_tier?.id && !current);
  made.append(...tier.prices.map(priceLine));
  if (tier.prices.length === 0) {
    const free = isFirst ? element("strong", {}, "No charge") : "Not for sale right now";
    made.append(element("p", { className: "price" }, free));
  }
  made.append(allowances(tier));
  if (!current && tier.id !== offer.pending?.tier) {
    made.append(...tier.prices.map((price) => priceButton(offer, tier, price)));
  }
  return made;
}

// The reason for this page, and the link back to the refused page.
function showReason({ app, current, required_tier: needed, return_url: url, tiers }) {
  const reason = byId("reason");
  const rank = (id) => tiers.findIndex((tier) => tier.id === id);
  reason.hidden = !needed;
  if (!needed) {
    return;
  }
  if (current.tier === needed.id || rank(current.tier) > rank(needed.id)) {
    reason.textContent = `Your plan includes this page now.`;
    showLink("back", `Back to ${app.name}`, url ?? app.url);
  } else {
    reason.textContent = `The page that you opened in ${app.name} needs ${needed.name}.`;
  }
}

function show(offer) {
  document.title = `${offer.app.name} plans`;
  byId("title").textContent = `${offer.app.name} plans`;
  say(standing(offer));
  byId("tiers").replaceChildren(...offer.tiers.map((tier, place) => card(offer, tier, place === 0)));
  byId("manage").hidden = !offer.has_customer;
  showLink("back", `Back to ${offer.app.name}`, offer.app.url);
  showReason(offer);
}

async function showOffer() {
  const offer = await call("offer");
  show(offer);
  return offer;
}

// A page whose link has expired must not offer buttons that fail. A timer alone is not enough: it stops while the
// computer sleeps.
function expireWithItsLink(offer) {
  const expiresAt = Date.now() + offer.expires_in_seconds * 1000;
  const look = () => {
    if (Date.now() >= expiresAt) {
      showProblem({ status: 401, message: "This page has been open for a while.", answer: offer });
    }
  };
  setInterval(look, 5000);
  addEventListener("visibilitychange", look);
}

const WAIT_SECONDS = 30;
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// Back from Stripe: its event may arrive a little later than the buyer.
async function waitForChange() {
  byId("tiers").hidden = true;
  say("Thank you. Waiting for Stripe to confirm your plan…");
  const until = Date.now() + WAIT_SECONDS * 1000;
  let found = null;
  for (let pause = 0.5; Date.now() < until; pause = Math.min(pause * 1.5, 5)) {
    try {
      found = await call("change", undefined, change);
    } catch (error) {
      if (error.status === 401 || error.status === 404) {
        throw error;
      }
    }
    if (found?.changed) {
      break;
    }
    await sleep(pause);
  }
  return found;
}

async function showChange() {
  const found = await waitForChange();
  if (found === null) {
    say("");
    showProblem(new Error());
    askAgain();
    return;
  }
  document.title = `${found.app.name} plans`;
  byId("title").textContent = `${found.app.name} plans`;
  showLink("back", `Back to ${found.app.name}`, found.return_url);
  if (!found.changed) {
    say(
      `Stripe has not confirmed your plan yet. This may take minutes, or days with some payment methods. ` +
        `You will have ${found.tier.name} as soon as it has. You can close this page.`,
    );
    askAgain();
    return;
  }
  sessionStorage.removeItem(`change ${appId}`);
  const later = found.pending?.tier === found.tier.id;
  const words = later ? `From ${day(found.pending.at)} you will have ${found.tier.name}.` : `You have ${found.current_name} now.`;
  say(`${words} Taking you back to ${found.app.name}…`);
  await sleep(later ? 5 : 2);
  location.replace(found.return_url);
}

function askAgain() {
  const button = byId("wait");
  button.hidden = false;
  button.addEventListener("click", () => location.reload(), { once: true });
}

// After the browser's back button the page may come from its cache with every button disabled.
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    location.reload();
  }
});
byId("manage").addEventListener("click", () => go("portal", undefined, "portal_url"));

try {
  await (change === null ? showOffer().then(expireWithItsLink) : showChange());
} catch (error) {
  sessionStorage.removeItem(`change ${appId}`);
  say("");
  showProblem(error);
}

// Texts of the plans page: prices, allowances, and the user's current plan.

const numbers = new Intl.NumberFormat();

export const day = (at) => new Date(at * 1000).toLocaleDateString(undefined, { dateStyle: "long" });

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function money(price) {
  if (price.unit_amount === null || !price.currency) {
    return "Price at the checkout";
  }
  // Stripe's decimals, which differ from the browser's for some currencies, such as ISK.
  const format = new Intl.NumberFormat(undefined, {
    style: "currency",
    currency: price.currency.toUpperCase(),
    minimumFractionDigits: price.decimals,
    maximumFractionDigits: price.decimals,
    trailingZeroDisplay: "stripIfInteger",
  });
  return format.format(price.unit_amount / 10 ** price.decimals);
}

export function priceLine(price, place) {
  const line = element("p", { className: "price" }, place ? "or " : "", element("strong", {}, money(price)));
  const every = price.interval_count > 1 ? `every ${price.interval_count} ${price.interval}s` : `per ${price.interval}`;
  line.append(price.interval ? ` ${every}` : "");
  return line;
}

const EACH = { "1d": "a day", "7d": "a week", "30d": "a month", "1mo": "a month", "1h": "an hour" };

// Features are ids of apps.json, such as image_generation.
const inWords = (feature) => (feature.charAt(0).toUpperCase() + feature.slice(1)).replaceAll(/[_-]/g, " ");

export function allowances({ features, limits }) {
  const lines = features.map(inWords);
  // Only limits of apps.json are shown: null is unlimited, a missing key is not shown.
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

// The difference of a price from the others of its tier: its interval, and its amount if the intervals are equal.
export function priceWords(price, others) {
  const often = price.interval_count > 1 ? `every ${price.interval_count} ${price.interval}s` : `by the ${price.interval}`;
  const alike = (other) => other.interval === price.interval && other.interval_count === price.interval_count;
  const words = [price.interval ? often : "", others.some(alike) ? money(price) : ""];
  return others.length > 0 ? words.filter(Boolean).map((word) => `, ${word}`).join("") : "";
}

// The current plan, and whether its subscription ends, changes or is unpaid.
export function standing({ current, current_name: name, pending }) {
  if (current.source !== "subscription") {
    return `You have ${name}.`;
  }
  if (current.status === "past_due") {
    const until = current.until === null ? "" : ` You keep ${name} until ${day(current.until)}.`;
    return `The last payment failed: please check your card under “Manage billing”.${until}`;
  }
  if (pending !== null) {
    return `You have ${name}. From ${day(pending.at)} you will have ${pending.name}.`;
  }
  if (current.ends_at !== null && current.ends_at * 1000 > Date.now()) {
    return `You have ${name} until ${day(current.ends_at)}. It will not renew.`;
  }
  const renewal = current.renews && current.period_end ? ` It renews on ${day(current.period_end)}.` : "";
  return `You have ${name}.${renewal}`;
}

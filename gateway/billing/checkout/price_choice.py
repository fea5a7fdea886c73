"""Chooses one of a tier's prices by price id, lookup key, interval, currency or amount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.billing.checkout.prices import resolve
from gateway.billing.context import Billing
from gateway.catalog.currencies import decimals
from gateway.catalog.model import App, Price, Tier
from gateway.errors import Conflict, InvalidInput
from gateway.stripe.prices import ResolvedPrice


@dataclass(frozen=True, slots=True)
class PriceChoice:
    """What a caller specifies of the price; None is any. `price` is a `key` of the offer, a lookup key or a price id.

    `unit_amount` is the amount that the buyer was shown; another amount is refused.
    """

    price: str | None = None
    interval: str | None = None
    interval_count: int | None = None
    currency: str | None = None
    unit_amount: int | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """A price as it is shown: Stripe's figures where they are known, because those are charged.

    `key` names exactly this price: its id at Stripe, or its lookup key until that id is known.
    """

    key: str
    unit_amount: int | None
    currency: str | None
    interval: str | None
    interval_count: int | None

    def as_json(self) -> dict[str, object]:
        return {
            "price": self.key,
            "unit_amount": self.unit_amount,
            "currency": self.currency,
            "decimals": decimals(self.currency) if self.currency else None,
            "interval": self.interval,
            "interval_count": self.interval_count,
        }


def offered(price: Price, resolved: ResolvedPrice | None) -> Offered:
    """The price as Stripe has it, else as apps.json declares it."""
    if resolved is not None:
        return Offered(
            resolved.price_id, resolved.unit_amount, resolved.currency, resolved.interval, resolved.interval_count
        )
    count = price.interval_count or (1 if price.interval else None)
    key = price.lookup_key or price.price_id or ""
    return Offered(key, price.unit_amount, price.currency, price.interval, count)


async def choose(billing: Billing, app: App, tier: Tier, choice: PriceChoice) -> Price:
    """The one price of the tier that fits `choice`; the first one for an empty choice.

    Raises `InvalidInput` if none fits, or more than one; `Conflict` (`price_changed`) for a key of this tier
    that is no longer sold, or has another amount than was shown; `UpstreamFailed` if Stripe does not answer.
    """
    if not tier.for_sale:
        raise InvalidInput(f"The tier {tier.tier_id!r} is not for sale.", code="tier_not_for_sale")
    if choice == PriceChoice():
        return tier.prices[0]
    known = [(price, await _known(billing, app, tier, price)) for price in tier.prices]
    fitting = [(price, shown) for price, shown in known if _fits(price, shown, choice)]
    fitting = [each for each in fitting if each[0] not in billing.prices.missing] or fitting
    if len(fitting) == 1:
        return fitting[0][0]
    if not fitting and choice.unit_amount is not None:
        raise _changed(tier)
    if (
        not fitting
        and choice.price
        and billing.prices.known_prices.get(app.app_id, {}).get(choice.price) == tier.tier_id
    ):
        raise _changed(tier)
    raise _refusal(tier, choice, [shown for _, shown in (fitting or known)], several=bool(fitting))


def check_unchanged(tier: Tier, choice: PriceChoice, resolved: ResolvedPrice) -> None:
    """Raises `Conflict` (`price_changed`) where a price id was chosen and its lookup key leads to another one now, or
    another amount was shown."""
    if choice.unit_amount not in (None, resolved.unit_amount):
        raise _changed(tier)
    if choice.price in (None, resolved.price_id):
        return
    if choice.price not in {name for price in tier.prices for name in (price.lookup_key, price.price_id)}:
        raise _changed(tier)


def _changed(tier: Tier) -> Conflict:
    return Conflict(f"The price of {tier.name} has changed. Check the new price before you buy.", code="price_changed")


async def _known(billing: Billing, app: App, tier: Tier, price: Price) -> Offered:
    """As `offered`; resolved at Stripe if it has not been yet."""
    resolved = billing.prices.resolved.get(price)
    if resolved is None:
        try:
            resolved = await resolve(billing, app, tier, price)
        except Conflict:
            resolved = None
    return offered(price, resolved)


def _fits(price: Price, shown: Offered, choice: PriceChoice) -> bool:
    return (
        choice.price in (None, shown.key, price.lookup_key, price.price_id)
        and choice.interval in (None, shown.interval)
        and choice.interval_count in (None, shown.interval_count)
        and choice.currency in (None, shown.currency)
        and choice.unit_amount in (None, shown.unit_amount)
    )


def _refusal(tier: Tier, choice: PriceChoice, choices: Sequence[Offered], *, several: bool) -> InvalidInput:
    listed = [each.as_json() for each in choices]
    if several:
        message = (
            f"The tier {tier.tier_id!r} has {len(choices)} prices that fit. "
            "Send the `price` of one of `choices`, or add interval_count and currency."
        )
        return InvalidInput(message, code="ambiguous_price", fields={"choices": listed})
    if choice.interval is None or choice.price is not None:
        message = f"The tier {tier.tier_id!r} has no such price."
        return InvalidInput(message, code="unknown_price", fields={"choices": listed})
    intervals = sorted({each.interval for each in choices if each.interval})
    message = f"The tier {tier.tier_id!r} has no price with the interval {choice.interval[:20]!r}."
    return InvalidInput(message, code="unknown_interval", fields={"intervals": intervals, "choices": listed})

"""Warnings about valid values in apps.json that are probably mistakes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.catalog.model import App, Catalog, Tier

_NUMBERS = ("max_budget_usd", "tpm_limit", "rpm_limit")


def advice(catalog: Catalog) -> list[str]:
    """One line per warning: `apps[0].tiers[1]: …`."""
    return [line for number, app in enumerate(catalog.apps.values()) for line in _of_app(f"apps[{number}]", app)]


def _of_app(path: str, app: App) -> Iterator[str]:
    sold: list[Tier] = []
    for tier in app.tiers:
        if tier.internal:
            continue
        place = f"{path}.tiers[{tier.rank}]"
        if tier.rank > 0 and not tier.prices:
            yield (
                f"{place}: {tier.name} has no prices, so nobody can buy it; "
                'add "prices", or "internal": true if only you give it'
            )
        less = _less(tier, sold)
        if less:
            yield f"{place}: {tier.name} has less than {less[0]}: {less[1]}"
        sold.append(tier)


def _less(tier: Tier, cheaper: Sequence[Tier]) -> tuple[str, str] | None:
    """(name, what is missing) of the nearest tier before this one in the list that has more; None if there is none."""
    for other in reversed(cheaper):
        lacking = [f"no feature {feature!r}" for feature in other.features if feature not in tier.features]
        lacking += _smaller(tier, other)
        if lacking:
            return other.name, ", ".join(lacking)
    return None


def _smaller(tier: Tier, other: Tier) -> Iterator[str]:
    mine, theirs = tier.limits, other.limits
    for name in _NUMBERS:
        if name == "max_budget_usd" and mine.budget_duration != theirs.budget_duration:
            continue
        value, than = getattr(mine, name), getattr(theirs, name)
        if value is not None and (than is None or value < than):
            label = name.removesuffix("_usd")
            yield f"{label} {value:g}, not {'unlimited' if than is None else format(than, 'g')}"
    if mine.models is not None:
        gone = "any model" if theirs.models is None else ", ".join(m for m in theirs.models if m not in mine.models)
        if gone:
            yield f"models without {gone}"

"""Errors for operators that name the choices. Buyers and app backends must not learn of other apps."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.catalog.model import App, Catalog, Tier
from gateway.errors import NotFound


def find_app(catalog: Catalog, app_id: str) -> App:
    """Raises `NotFound`."""
    app = catalog.app(app_id)
    if app is None:
        message = f"There is no app {app_id[:80]!r} in apps.json; it has {listed(catalog.apps)}."
        raise NotFound(message, code="unknown_app")
    return app


def find_tier(app: App, tier_id: str) -> Tier:
    """Raises `NotFound`."""
    tier = app.tier(tier_id)
    if tier is None:
        choices = listed(each.tier_id for each in app.tiers)
        raise NotFound(f"{app.app_id} has no tier {tier_id[:80]!r}; it has {choices}.", code="unknown_tier")
    return tier


def listed(names: Iterable[str]) -> str:
    """At most 20 names, in a row."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:20]) + (" …" if len(found) > 20 else "") or "none"

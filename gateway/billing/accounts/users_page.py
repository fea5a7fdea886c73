"""The users as an operator lists them, page by page."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from gateway.billing.operator_choices import find_app, listed
from gateway.catalog.model import Catalog
from gateway.errors import InvalidInput, NotFound
from gateway.store import users
from gateway.tiers.candidates import STATUS_RULES

PAGE = 1000
_STATUSES = (*STATUS_RULES, "past_due", users.NO_STATUS)


def users_page(conn: Connection, catalog: Catalog, query: Mapping[str, str]) -> dict[str, object]:
    """Raises `InvalidInput` for half a place to start behind, `NotFound` or `InvalidInput` if a
    filter names what nobody can have."""
    filter_ = users.UserFilter(query.get("app"), query.get("tier"), query.get("status"))
    after = query.get("after_app", ""), query.get("after_user", "")
    if bool(after[0]) != bool(after[1]):
        raise InvalidInput("after_app and after_user go together.")
    default_tiers = {app_id: app.default_tier.tier_id for app_id, app in catalog.apps.items()}
    found = users.page(conn, filter_, default_tiers, after, PAGE + 1)
    if not found and not after[0]:
        _check_filter(catalog, filter_)
    return {"users": found[:PAGE], "more": len(found) > PAGE}


def _check_filter(catalog: Catalog, filter_: users.UserFilter) -> None:
    """Called when nothing was found: users of an app or tier that apps.json no longer has are still listed."""
    check_app_filter(catalog, filter_.app_id)
    apps = catalog.apps.values() if filter_.app_id is None else [catalog.apps[filter_.app_id]]
    if filter_.tier is not None and all(app.tier(filter_.tier) is None for app in apps):
        choices = listed(tier.tier_id for app in apps for tier in app.tiers)
        raise NotFound(f"No app has the tier {filter_.tier[:80]!r}; there are {choices}.", code="unknown_tier")
    if filter_.status is not None and filter_.status not in _STATUSES:
        raise InvalidInput(f"{filter_.status[:80]!r} is no status of Stripe's; expected {', '.join(_STATUSES)}.")


def check_app_filter(catalog: Catalog, app_id: str | None) -> None:
    """Raises `NotFound` for a filter by an app that apps.json does not have."""
    if app_id is not None:
        find_app(catalog, app_id)

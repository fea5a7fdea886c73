"""Tiers that an operator gives without a subscription, and takes back. They go through the same refresh as all else."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.billing.context import check_user_id
from gateway.catalog.model import Catalog
from gateway.errors import InvalidInput, NotFound
from gateway.store import grants, refreshes


def give(
    conn: Connection,
    catalog: Catalog,
    app_id: str,
    user_id: str,
    tier_id: str,
    reason: str,
    until_at: int | None,
    now: int,
) -> int:
    """A new grant's id; the user's refresh is wanted in the same transaction. `until_at` None is for ever.

    Raises `NotFound` (app, tier), `InvalidInput`.
    """
    app = catalog.app(app_id)
    if app is None:
        raise NotFound(f"There is no app {app_id[:80]!r} in apps.json.", code="unknown_app")
    tier = app.tier(tier_id)
    if tier is None:
        raise NotFound(f"{app_id} has no tier {tier_id[:80]!r}.", code="unknown_tier")
    check_user_id(user_id)
    if not reason.strip():
        raise InvalidInput("A grant needs a reason: somebody will ask.", code="reason_required")
    if until_at is not None and until_at <= now:
        raise InvalidInput("The grant would be over already.", code="until_in_the_past")
    grant_id = grants.add(conn, app_id, user_id, tier.tier_id, reason.strip(), until_at, now)
    refreshes.want(conn, app_id, user_id, now)
    return grant_id


def take_back(conn: Connection, app_id: str, user_id: str, now: int) -> int:
    """End every live grant of the user; how many there were. Raises `NotFound` if there was none."""
    ended = grants.revoke_all(conn, app_id, user_id, now)
    if not ended:
        raise NotFound("This user has no grant.", code="no_grant")
    refreshes.want(conn, app_id, user_id, now)
    return ended

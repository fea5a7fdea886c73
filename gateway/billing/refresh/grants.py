"""Tiers granted by an operator without a subscription. A refresh puts them into effect."""

from __future__ import annotations

from gateway.billing.operator_choices import find_app, find_tier
from gateway.billing.work.transaction import Transaction
from gateway.catalog.model import Catalog
from gateway.errors import InvalidInput, NotFound
from gateway.store import grants
from gateway.user_ids import check_user_id


def give(
    tx: Transaction, catalog: Catalog, app_id: str, user_id: str, tier_id: str, reason: str, until_at: int | None
) -> int:
    """Add a grant, request the user's refresh and return the grant's id. `until_at` None: it never ends.

    Raises `NotFound` (app, tier), `InvalidInput`.
    """
    tier = find_tier(find_app(catalog, app_id), tier_id)
    check_user_id(user_id)
    if not reason.strip():
        raise InvalidInput("A grant needs a reason.", code="reason_required")
    if until_at is not None and until_at <= tx.now:
        raise InvalidInput("The grant would be over already.", code="until_in_the_past")
    grant_id = grants.add(tx.conn, app_id, user_id, tier.tier_id, reason.strip(), until_at, tx.now)
    tx.want_refresh(app_id, user_id)
    return grant_id


def take_back(tx: Transaction, app_id: str, user_id: str) -> int:
    """End every live grant of the user and return their number. Raises `NotFound` if there was none."""
    ended = grants.revoke_all(tx.conn, app_id, user_id, tx.now)
    if not ended:
        raise NotFound("This user has no grant.", code="no_grant")
    tx.want_refresh(app_id, user_id)
    return ended

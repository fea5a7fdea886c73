"""Moves the store to another Stripe account, as from a sandbox to live; the old account's data is removed."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.billing.accounts.account import ACCOUNT, MISMATCH, MODE, Binding, binding
from gateway.billing.accounts.recovery import RECOVERY
from gateway.billing.accounts.signing import SIGNED_WITH
from gateway.billing.events.missed import CURSOR
from gateway.billing.reconcile.schedule import RECONCILED_AT
from gateway.billing.work.transaction import Transaction
from gateway.store import forgetting

_FACTS = (ACCOUNT, MODE, "portal:", CURSOR, RECONCILED_AT, RECOVERY, SIGNED_WITH)
_ALERTS = (
    MISMATCH,
    "livemode_mismatch",
    "refresh_failing",
    "unknown_status",
    "unknown_price",
    "duplicate_subscription",
    "subscription_missing",
    "dispute_open",
    "dispute_lost",
    "refunded",
    "fraud_warning",
    "event_unreadable",
    "reconcile_failing",
    "reconcile_stopped",
    "price_missing",
    "price_differs",
    "prices_refused",
    "checkout_refused",
    "portal_refused",
    "currency_mismatch",
    "adopt_refused",
    "users_delete_refused",
    "users_move_refused",
    "unadopted_payer",
)


@dataclass(frozen=True, slots=True)
class AccountMoveResult:
    """What was removed, or would be in a dry run. `users` lose the tiers of the old account."""

    bound: Binding
    users: int
    forgotten: dict[str, int]


def move_account(tx: Transaction) -> AccountMoveResult:
    """Forget the Stripe account: the next start binds the store to the account of its key.

    Grants, keys, tombstones and LiteLLM ids stay. Users with a tier by subscription are refreshed at the next
    start: they get the tier of their grants, or the first one, and LiteLLM is updated.
    """
    bound, affected = binding(tx.conn), forgetting.subscribers(tx.conn)
    forgotten = forgetting.remove_account(tx.conn, _FACTS, _ALERTS)
    for app_id, user_id in affected:
        tx.want_refresh(app_id, user_id)
    return AccountMoveResult(bound, len(affected), forgotten)

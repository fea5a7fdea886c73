"""Notices to apps as an operator lists and replays them."""

from __future__ import annotations

from gateway.billing.work.transaction import Loop, Transaction
from gateway.errors import InvalidInput
from gateway.store import notices
from gateway.store.notices import Notice

MAX_LISTED = 200


def replay(tx: Transaction, change_id: str | None, app_id: str | None, dead: bool) -> int:
    """Resend one notice, or with `dead` every dead notice (of one app, if given); returns how many.

    Raises `InvalidInput` unless it is one or the other, `NotFound`.
    """
    if (change_id is not None) == dead or (change_id is not None and app_id is not None):
        raise InvalidInput("Name one change_id, or set dead, with or without an app_id.", code="replay_what")
    tx.wake(Loop.NOTIFY)
    if change_id is None:
        return notices.replay_dead(tx.conn, app_id, tx.now)
    notices.replay(tx.conn, change_id, tx.now)
    return 1


def shown_notice(notice: Notice) -> dict[str, object]:
    """A notice without its text."""
    names = ("change_id", "app_id", "user_id", "state", "attempts", "last_status", "error", "due_at", "created_at")
    return {**{name: getattr(notice, name) for name in names}, "done_at": notice.done_at}

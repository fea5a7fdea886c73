"""After a database was restored or lost: pending jobs are dropped, and every user is refreshed from Stripe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from sqlalchemy import Connection, text

from gateway.billing.accounts.adopt import adopt_listed
from gateway.billing.context import Billing
from gateway.billing.work.transaction import Loop, Transaction
from gateway.log import fields
from gateway.store import alerts, customers, forgetting, gate_changes, instance, refreshes

log = logging.getLogger(__name__)

RECOVERY = "recovery"
"""In `instance`: why every user must be refreshed ("restored", "empty"), or "done"."""
POLL_SECONDS = 0.5

_VOID = (
    text("DELETE FROM provisioning"),
    text("DELETE FROM notices WHERE state <> 'done'"),
    # LiteLLM has values from after the backup: all limits are rewritten.
    text("UPDATE litellm_ids SET digest = ''"),
    text("DELETE FROM alerts WHERE kind = 'refresh_failing'"),
    text("UPDATE checkouts SET open = false, session_id = NULL, url = NULL, expires_at = NULL"),
)


def mark_restored(tx: Transaction) -> int:
    """Delete the pending work of a restored database and request a refresh of each subscriber; returns how many.

    An old provisioning job would undo later writes, and an old notice would report an outdated change.
    """
    for statement in _VOID:
        tx.conn.execute(statement)
    gate_changes.new_epoch(tx.conn)
    users = forgetting.subscribers(tx.conn)
    for app_id, user_id in users:
        tx.want_refresh(app_id, user_id)
    instance.put(tx.conn, RECOVERY, "restored")
    return len(users)


def begin_recovery(conn: Connection) -> str:
    """Why every user must be refreshed before we are ready; '' if that is not needed.

    A new store without customers may replace one that was lost.
    """
    found = instance.get(conn, RECOVERY)
    if found is None:
        found = "done" if customers.newest(conn) is not None else "empty"
        instance.put(conn, RECOVERY, found)
    return "" if found == "done" else found


async def recover(billing: Billing) -> None:
    """Adopt all customers that we signed, and return once every user was refreshed. Raises `UpstreamFailed`.

    If Stripe refuses the refresh of a user, an alert is opened, and the user keeps the tier and delays no other.
    """
    adopted = await adopt_listed(billing)
    waiting = await billing.work.read(refreshes.waiting)
    while await billing.work.read(lambda conn: _unsettled(conn, waiting)):  # noqa: ASYNC110  # it is in the store
        await asyncio.sleep(POLL_SECONDS)
    billing.account.recovering = False
    await billing.work.write(_end_recovery)
    log.info("recovered", extra=fields(adopted=adopted, users=len(waiting)))


def _end_recovery(tx: Transaction) -> None:
    instance.put(tx.conn, RECOVERY, "done")
    tx.wake(Loop.PROVISION)


def _unsettled(conn: Connection, at_first: Mapping[tuple[str, str], tuple[int, int]]) -> bool:
    """Whether a user of `at_first`, as (wanted, done), has not been refreshed since."""
    given_up = {each.subject for each in alerts.live(conn) if each.kind == "refresh_failing"}
    return any(
        user in at_first and done < at_first[user][0] and f"{user[0]}/{user[1]}" not in given_up
        for user, (_, done) in refreshes.waiting(conn).items()
    )

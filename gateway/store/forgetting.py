"""Deletes data: of a forgotten user, of a former Stripe account, of old events and notices."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, func, or_, select, tuple_, update

from gateway.store import gate_changes
from gateway.store.gate_changes import ChangeKind
from gateway.store.schema import (
    EVENT_WAITS,
    alerts,
    checkouts,
    customers,
    disputes,
    entitlements,
    grants,
    inbox,
    instance,
    keys,
    last_good_tiers,
    litellm_ids,
    notices,
    prices,
    provisioning,
    refreshes,
)

_OF_USERS = (
    entitlements,
    refreshes,
    provisioning,
    notices,
    checkouts,
    customers,
    disputes,
    grants,
    keys,
    last_good_tiers,
)


def remove_user(conn: Connection, app_id: str, user_id: str) -> int:
    """Delete every row of this user except the LiteLLM ids; returns how many.

    The history of tiers is deleted with the entitlement. Events stay as rows without a user or body, so that a repeated
    delivery is recognised.
    """
    customer_ids = select(customers.c.customer_id).where(customers.c.app_id == app_id, customers.c.user_id == user_id)
    of_user = and_(inbox.c.app_id == app_id, inbox.c.user_id == user_id)
    conn.execute(
        update(inbox)
        .where(or_(of_user, inbox.c.customer_id.in_(customer_ids)))
        .values(body=b"", customer_id=None, app_id="", user_id="", state="forgotten")
    )
    conn.execute(delete(alerts).where(alerts.c.subject == f"{app_id}/{user_id}"))
    gate_changes.record(conn, ChangeKind.TIER, app_id, user_id)
    gate_changes.record(conn, ChangeKind.KEYS, app_id, user_id)
    removed = 0
    for table in _OF_USERS:
        removed += conn.execute(delete(table).where(table.c.app_id == app_id, table.c.user_id == user_id)).rowcount
    return removed


def remove_litellm_ids(conn: Connection, app_id: str, user_id: str) -> None:
    """After LiteLLM has deleted the user: another user may reserve the ids."""
    conn.execute(delete(litellm_ids).where(litellm_ids.c.app_id == app_id, litellm_ids.c.user_id == user_id))


def litellm_ids_of(conn: Connection, app_id: str, user_id: str) -> list[tuple[str, str]]:
    """(mode, LiteLLM id) of each id of this user."""
    rows = conn.execute(
        select(litellm_ids.c.mode, litellm_ids.c.litellm_id).where(
            litellm_ids.c.app_id == app_id, litellm_ids.c.user_id == user_id
        )
    )
    return [(row.mode, row.litellm_id) for row in rows]


def remove_account(conn: Connection, facts: tuple[str, ...], alert_kinds: tuple[str, ...]) -> dict[str, int]:
    """Delete everything that is only valid in one Stripe account; returns how many of each.

    Grants, keys and LiteLLM ids stay. `facts` are names in `instance`, or prefixes of names that end with ":".
    """
    ignored = conn.execute(update(inbox).where(EVENT_WAITS).values(state="ignored"))
    deleted = {
        "customers": conn.execute(delete(customers)).rowcount,
        "checkouts": conn.execute(delete(checkouts)).rowcount,
        "disputes": conn.execute(delete(disputes)).rowcount,
        "prices": conn.execute(delete(prices)).rowcount,
        "entitlements": conn.execute(delete(entitlements).where(entitlements.c.source == "subscription")).rowcount,
        "events": ignored.rowcount,
    }
    gate_changes.record(conn, ChangeKind.ALL, "", "")
    conn.execute(delete(last_good_tiers))
    deleted["portals"] = 0
    for name in facts:
        matches = instance.c.key.startswith(name, autoescape=True) if name.endswith(":") else instance.c.key == name
        deleted["portals"] += conn.execute(delete(instance).where(matches)).rowcount * name.startswith("portal:")
    conn.execute(delete(alerts).where(alerts.c.kind.in_(alert_kinds)))
    return deleted


def subscribers(conn: Connection) -> list[tuple[str, str]]:
    """(app id, user id) of each user with a customer or a tier by a subscription."""
    paying = select(entitlements.c.app_id, entitlements.c.user_id).where(entitlements.c.source == "subscription")
    rows = conn.execute(select(customers.c.app_id, customers.c.user_id).union(paying))
    return [(row.app_id, row.user_id) for row in rows]


def empty_events(conn: Connection, received_before: int, after: tuple[int, str], limit: int) -> tuple[int, str] | None:
    """Empty the bodies of finished events among the next `limit` ones after `after`, (received at, event id).

    Returns the last one read, None at the end. The rows stay, so that a late repeated delivery is recognised.
    """
    position = tuple_(inbox.c.received_at, inbox.c.event_id)
    rows = conn.execute(
        select(inbox.c.received_at, inbox.c.event_id, inbox.c.account, func.length(inbox.c.body).label("size"))
        .where(inbox.c.received_at < received_before, position > after)
        .order_by(inbox.c.received_at, inbox.c.event_id)
        .limit(limit)
    ).all()
    for row in rows:
        if row.size:
            conn.execute(
                update(inbox)
                .where(inbox.c.account == row.account, inbox.c.event_id == row.event_id, ~EVENT_WAITS)
                .values(body=b"")
            )
    return (rows[-1].received_at, rows[-1].event_id) if rows else None


def remove_done_notices(conn: Connection, done_before: int, limit: int) -> int:
    """Delete at most `limit` notices that the apps accepted before `done_before`; returns how many."""
    old = select(notices.c.change_id).where(notices.c.state == "done", notices.c.done_at < done_before).limit(limit)
    return conn.execute(delete(notices).where(notices.c.change_id.in_(old))).rowcount

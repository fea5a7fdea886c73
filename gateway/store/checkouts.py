"""The open checkout session of each (app, user), one at most, and the number of its attempt."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, false, select, text, update

from gateway.store.rows import columns_of, record_of
from gateway.store.schema import checkouts


@dataclass(frozen=True, slots=True)
class Checkout:
    """`session_id`, `url` and `expires_at` are None until Stripe has answered. `url` is a bearer link: never log it.

    `attempt` is part of the idempotency key and is never reused for this user.
    """

    app_id: str
    user_id: str
    session_id: str | None
    tier: str
    price_id: str
    url: str | None
    expires_at: int | None
    attempt: int


_COLUMNS = columns_of(checkouts, Checkout)

_BEGIN = text(
    "INSERT INTO checkouts (app_id, user_id, attempt, open, tier, price_id, begun_at)"
    " VALUES (:app_id, :user_id, 1, true, :tier, :price_id, :now)"
    " ON CONFLICT (app_id, user_id) DO UPDATE"
    " SET attempt = checkouts.attempt + 1, open = true, session_id = NULL, tier = excluded.tier,"
    " price_id = excluded.price_id, url = NULL, expires_at = NULL, begun_at = excluded.begun_at"
    " RETURNING attempt"
)


def get(conn: Connection, app_id: str, user_id: str) -> Checkout | None:
    """The checkout that was begun and not cleared, even if its session is unknown or expired."""
    row = conn.execute(
        select(*_COLUMNS).where(checkouts.c.app_id == app_id, checkouts.c.user_id == user_id, checkouts.c.open)
    ).one_or_none()
    return None if row is None else record_of(Checkout, row)


def live(conn: Connection, now: int) -> list[Checkout]:
    """Every checkout whose session can still be paid, or is not known."""
    expired = checkouts.c.expires_at.is_not(None) & (checkouts.c.expires_at <= now)
    rows = conn.execute(
        select(*_COLUMNS).where(checkouts.c.open, ~expired).order_by(checkouts.c.app_id, checkouts.c.user_id)
    )
    return [record_of(Checkout, row) for row in rows]


def begin(conn: Connection, app_id: str, user_id: str, tier: str, price_id: str, now: int) -> Checkout:
    """Start a new attempt, without a session yet, in place of an earlier one."""
    begun = {"app_id": app_id, "user_id": user_id, "tier": tier, "price_id": price_id, "now": now}
    attempt = int(conn.execute(_BEGIN, begun).scalar_one())
    return Checkout(app_id, user_id, None, tier, price_id, url=None, expires_at=None, attempt=attempt)


def opened(
    conn: Connection, app_id: str, user_id: str, attempt: int, session_id: str, url: str, expires_at: int
) -> bool:
    """Record the session that Stripe created for this attempt. False, without a change, if it is not the open one."""
    recorded = conn.execute(
        update(checkouts)
        .where(
            checkouts.c.app_id == app_id,
            checkouts.c.user_id == user_id,
            checkouts.c.attempt == attempt,
            checkouts.c.open,
        )
        .values(session_id=session_id, url=url, expires_at=expires_at)
    )
    return recorded.rowcount == 1


def clear(conn: Connection, app_id: str, user_id: str) -> None:
    """Remove the open checkout, if any; the attempt number is kept."""
    conn.execute(
        update(checkouts)
        .where(checkouts.c.app_id == app_id, checkouts.c.user_id == user_id)
        .values(open=false(), session_id=None, url=None, expires_at=None)
    )

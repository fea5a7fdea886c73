"""Disputes, refunds and fraud warnings that events have named, with Stripe's last answer about each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, select, text, update

from gateway.store.columns import OWN_ACCOUNT
from gateway.store.rows import columns_of
from gateway.store.schema import disputes


@dataclass(frozen=True, slots=True)
class StoredDispute:
    """`kind` is Stripe's name of the object type. `found` is Stripe's last answer, empty before the first one.

    `wanted` counts the events about it. `open`: the next refresh reads it from Stripe.
    """

    object_id: str
    kind: str
    customer_id: str
    wanted: int
    open: bool
    found: Mapping[str, Any]


_RECORD_EVENT = text(
    "INSERT INTO disputes (account, object_id, kind, customer_id, app_id, user_id, remembered_at, wanted, open, found)"
    " VALUES (:account, :object_id, :kind, :customer_id, :app_id, :user_id, :now, 1, :true, '')"
    " ON CONFLICT (account, object_id) DO UPDATE SET wanted = disputes.wanted + 1, open = excluded.open"
)


def record_event(
    conn: Connection, object_id: str, kind: str, customer_id: str, app_id: str, user_id: str, now: int
) -> None:  # fmt: skip
    """Record an event about it, so that the user's next refresh reads it. The owner of a known one is not changed."""
    conn.execute(
        _RECORD_EVENT,
        {
            "account": OWN_ACCOUNT,
            "object_id": object_id,
            "kind": kind,
            "customer_id": customer_id,
            "app_id": app_id,
            "user_id": user_id,
            "now": now,
            "true": True,
        },
    )


def of_user(conn: Connection, app_id: str, user_id: str) -> list[StoredDispute]:
    """This user's disputes, open or not, in the order of storing."""
    rows = conn.execute(
        select(*columns_of(disputes, StoredDispute))
        .where(disputes.c.app_id == app_id, disputes.c.user_id == user_id)
        .order_by(disputes.c.remembered_at, disputes.c.object_id)
    )
    return [_stored_dispute(row) for row in rows]


def record_answer(conn: Connection, stored: StoredDispute, found: Mapping[str, Any], still_open: bool) -> None:
    """Record Stripe's answer. It stays open if another event about it has arrived since `stored` was read."""
    no_new_event = disputes.c.wanted == stored.wanted
    conn.execute(
        update(disputes)
        .where(disputes.c.account == OWN_ACCOUNT, disputes.c.object_id == stored.object_id)
        .values(
            found=json.dumps(dict(found), sort_keys=True) if found else "",
            open=case((no_new_event, still_open), else_=True),
        )
    )


def _stored_dispute(row: Row[Any]) -> StoredDispute:
    values = row._asdict()
    found = values.pop("found")
    return StoredDispute(**values, found=json.loads(found) if found else {})

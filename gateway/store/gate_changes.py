"""The change log: what may alter an answer of the gate, numbered without gaps in the order of the commits (T45).

A change is recorded with `record` by whatever writes the rows it concerns. The writer numbers all changes of a
transaction with `number_recorded`, just before the commit: the row of the counter stays locked until then, so a reader
that has seen a number has seen every lower one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from gateway.store import instance
from gateway.store.rows import columns_of, record_of
from gateway.store.schema import gate_change_counter, gate_changes

_EPOCH = "gate_epoch"
_RECORDED = "gate_changes"
_COUNT = text("UPDATE gate_change_counter SET number = number + :count RETURNING number")


class ChangeKind(StrEnum):
    """What the reader of a change must load again."""

    TIER = "tier"
    """The user's tier, or the instant at which it ends; no entitlement any more: the user was forgotten."""
    KEYS = "keys"
    """The live API keys. Of an app's own key, `user_id` is ''."""
    ALL = "all"
    """Everything; `app_id` and `user_id` are ''."""


@dataclass(frozen=True, slots=True)
class GateChange:
    """The new value is not part of it: a reader loads the current one, so repeating a change is harmless."""

    number: int
    kind: ChangeKind
    app_id: str
    user_id: str


_COLUMNS = columns_of(gate_changes, GateChange)
_INSERT = insert(gate_changes)
_AFTER = (
    select(*_COLUMNS)
    .where(gate_changes.c.number > bindparam("after"))
    .order_by(gate_changes.c.number)
    .limit(bindparam("limit"))
)


def record(conn: Connection, kind: ChangeKind, app_id: str, user_id: str) -> None:
    """Log a change with this transaction. Repeating it within the transaction has no effect."""
    conn.info.setdefault(_RECORDED, []).append((kind, app_id, user_id))


def recorded(conn: Connection) -> int:
    """How often `record` was called since the last commit, for `discard`."""
    return len(conn.info.get(_RECORDED, ()))


def discard(conn: Connection, kept: int = 0) -> None:
    """Drop what was recorded after the first `kept`: its savepoint or transaction was rolled back."""
    del conn.info.setdefault(_RECORDED, [])[kept:]


def number_recorded(conn: Connection, now: int) -> int | None:
    """Number and store what was recorded, as the last statements of a transaction; returns the last number, None if
    nothing was recorded."""
    found = dict.fromkeys(conn.info.pop(_RECORDED, ()))
    if not found:
        return None
    last = int(conn.execute(_COUNT, {"count": len(found)}).scalar_one())
    first = last - len(found) + 1
    rows = [
        {"number": number, "kind": kind.value, "app_id": app_id, "user_id": user_id, "at": now}
        for number, (kind, app_id, user_id) in enumerate(found, first)
    ]
    conn.execute(_INSERT, rows)
    return last


def last_number(conn: Connection) -> int:
    """The number of the newest committed change, 0 before the first one."""
    return int(conn.execute(select(gate_change_counter.c.number)).scalar_one())


def after(conn: Connection, number: int, limit: int) -> Sequence[GateChange] | None:
    """The next `limit` changes after `number`, in order. None if some of them have been purged, or if `number` is
    higher than any in this database: the reader must load everything again."""
    last, purged = conn.execute(select(gate_change_counter.c.number, gate_change_counter.c.purged)).one()
    if not purged <= number <= last:
        return None
    return (
        [record_of(GateChange, row) for row in conn.execute(_AFTER, {"after": number, "limit": limit})]
        if number < last
        else []
    )


def purge(conn: Connection, before: int, limit: int) -> int:
    """Delete changes of before this instant, `limit` at most; returns how many."""
    oldest = (
        select(gate_changes.c.number).where(gate_changes.c.at < before).order_by(gate_changes.c.number).limit(limit)
    )
    numbers = conn.execute(oldest).scalars().all()
    if not numbers:
        return 0
    # Clocks differ: a number may have been written with an earlier instant than a lower one. None is skipped.
    conn.execute(delete(gate_changes).where(gate_changes.c.number <= numbers[-1]))
    conn.execute(gate_change_counter.update().values(purged=numbers[-1]))
    return len(numbers)


def epoch(conn: Connection) -> str:
    """Distinguishes the numbers of this database from those of any other, and of itself before it was restored."""
    return instance.get(conn, _EPOCH) or ""


def new_epoch(conn: Connection) -> None:
    """Begin another epoch: numbers already handed out may be assigned again."""
    instance.put(conn, _EPOCH, secrets.token_hex(8))

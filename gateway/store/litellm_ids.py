"""The (app, user) of each LiteLLM id. One id has one owner, or two apps would overwrite each other's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, text, update

from gateway.store.rows import columns_of, record_of
from gateway.store.schema import entitlements, litellm_ids


@dataclass(frozen=True, slots=True)
class Owner:
    """The user that has reserved an id."""

    app_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The last limits that LiteLLM has confirmed for an id; the last three fields are None before."""

    mode: str
    litellm_id: str
    owner: Owner
    digest: str | None
    budget_duration: str | None
    provisioned_at: int | None


_RESERVE = text(
    "INSERT INTO litellm_ids (mode, litellm_id, app_id, user_id, claimed_at)"
    " VALUES (:mode, :litellm_id, :app_id, :user_id, :now) ON CONFLICT (mode, litellm_id) DO NOTHING"
)


def reserve(conn: Connection, mode: str, litellm_id: str, app_id: str, user_id: str, now: int) -> Owner:
    """Reserve an id for a user. The first reservation is permanent; returns its owner."""
    conn.execute(_RESERVE, {"mode": mode, "litellm_id": litellm_id, "app_id": app_id, "user_id": user_id, "now": now})
    row = conn.execute(
        select(*columns_of(litellm_ids, Owner)).where(
            litellm_ids.c.mode == mode, litellm_ids.c.litellm_id == litellm_id
        )
    ).one()
    return record_of(Owner, row)


def provisioned(
    conn: Connection, mode: str, litellm_id: str, digest: str, budget_duration: str | None, now: int
) -> None:
    """Record that LiteLLM has confirmed the limits of `digest`. Ignored for an id that is not reserved."""
    conn.execute(
        update(litellm_ids)
        .where(litellm_ids.c.mode == mode, litellm_ids.c.litellm_id == litellm_id)
        .values(digest=digest, budget_duration=budget_duration, provisioned_at=now)
    )


def get(conn: Connection, mode: str, litellm_id: str) -> Provisioned | None:
    """None if the id is not reserved."""
    row = conn.execute(
        select(litellm_ids).where(litellm_ids.c.mode == mode, litellm_ids.c.litellm_id == litellm_id)
    ).one_or_none()
    if row is None:
        return None
    owner = Owner(row.app_id, row.user_id)
    return Provisioned(row.mode, row.litellm_id, owner, row.digest, row.budget_duration, row.provisioned_at)


def reserved(conn: Connection, mode: str, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that are reserved."""
    rows = conn.execute(
        select(litellm_ids.c.litellm_id).where(litellm_ids.c.mode == mode, litellm_ids.c.litellm_id.in_(ids))
    )
    return set(rows.scalars())


@dataclass(frozen=True, slots=True)
class ReservedId:
    """A reserved id with its user. `tier` None: no entitlement is stored, so the user has the default tier."""

    litellm_id: str
    user_id: str
    digest: str | None
    tier: str | None


def newest(conn: Connection, app_id: str, mode: str) -> str | None:
    """The user of an app whose limits LiteLLM has confirmed last."""
    return conn.execute(
        select(litellm_ids.c.user_id)
        .where(litellm_ids.c.app_id == app_id, litellm_ids.c.mode == mode, litellm_ids.c.provisioned_at.is_not(None))
        .order_by(litellm_ids.c.provisioned_at.desc(), litellm_ids.c.user_id)
        .limit(1)
    ).scalar_one_or_none()


def of_app(conn: Connection, app_id: str, mode: str, after: str, limit: int) -> list[ReservedId]:
    """The next `limit` ids of an app after `after`, in byte order. '' starts, an empty list ends."""
    rows = conn.execute(
        select(litellm_ids.c.litellm_id, litellm_ids.c.user_id, litellm_ids.c.digest, entitlements.c.tier)
        .select_from(
            litellm_ids.outerjoin(
                entitlements,
                (entitlements.c.app_id == litellm_ids.c.app_id) & (entitlements.c.user_id == litellm_ids.c.user_id),
            )
        )
        .where(litellm_ids.c.app_id == app_id, litellm_ids.c.mode == mode, litellm_ids.c.litellm_id > after)
        .order_by(litellm_ids.c.litellm_id)
        .limit(limit)
    )
    return [record_of(ReservedId, row) for row in rows]

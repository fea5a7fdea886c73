"""A database of an older version is migrated with all its rows."""

from __future__ import annotations

from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from gateway.store import Store, customers, entitlements, last_good, provisioning
from gateway.store.columns import metadata
from gateway.store.engine.ownership import migration_config
from gateway.store.store import _backend
from gateway.tiers.model import Concern, LastGoodTier


def _older(database_url: str, revision: str, *rows: tuple[str, dict[str, Any]]) -> Store:
    """The database as `revision` left it, with these (table, values), opened by this version."""
    backend = _backend(database_url)
    config = migration_config()
    with backend.connect_writer() as conn, conn.begin():
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
        for table, values in rows:
            names = ", ".join(values)
            places = ", ".join(f":{name}" for name in values)
            conn.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)  # noqa: S608  # names from here
    backend.close()
    return Store.open(database_url)


def _job(user_id: str, kind: str = "litellm", **values: Any) -> tuple[str, dict[str, Any]]:
    job = {
        "kind": kind, "app_id": "skai", "user_id": user_id, "payload": "{}", "version": 3, "state": "waiting",
        "attempts": 2, "due_at": 150, "error": "LiteLLM is down", "answer": None, "updated_at": 100,
    }  # fmt: skip
    return "outbox", job | values


def _jobs(conn: Connection) -> list[provisioning.ProvisioningJob]:
    return provisioning.due(conn, 10_000, 10)


def test_jobs_that_wait_in_the_old_outbox_still_wait(database_url: str) -> None:
    done = _job("done", state="done", error="", answer='{"answer": {"blocked": false}}')
    opened = _older(database_url, "0005", _job("late", due_at=300), _job("early"), done, _job("early", kind="notice"))
    found = opened.read_now(_jobs)
    assert [(job.user_id, job.version, job.attempts, job.error) for job in found] == [
        ("early", 3, 2, "LiteLLM is down"),
        ("late", 3, 2, "LiteLLM is down"),
    ]
    kept = opened.read_now(lambda conn: provisioning.get(conn, "skai", "done"))
    assert kept is not None
    assert (kept.state, kept.answer) == ("done", {"answer": {"blocked": False}})
    # The new table numbers its rows by itself.
    assert opened.write_now(lambda conn: provisioning.put(conn, "skai", "new", 500)) not in {j.job_id for j in found}
    assert opened.write_now(lambda conn: provisioning.put(conn, "skai", "late", 500)) in {j.job_id for j in found}
    opened.close_now()


def test_concerns_are_still_read(database_url: str) -> None:
    decided = {
        "app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "active", "source": "subscription",
        "changes_to_come": "[[900, \"free\"]]", "concerns": '[["unknown_price", "price_\u00e9", "It has no tier."]]',
        "version": 1, "changed_at": 100, "updated_at": 100,
    }  # fmt: skip
    others = decided | {"user_id": "u2", "concerns": "[]"}
    opened = _older(database_url, "0006", ("entitlements", decided), ("entitlements", others))
    stored = opened.read_now(lambda conn: entitlements.get(conn, "skai", "u1"))
    assert stored is not None
    assert stored.entitlement.concerns == (Concern("unknown_price", "price_é", "It has no tier."),)
    assert opened.read_now(lambda conn: entitlements.with_concern(conn, "unknown_price")) == [("skai", "u1")]
    opened.close_now()


_OWNER = {"app_id": "skai", "user_id": "u1"}
_OF_STRIPE: dict[str, dict[str, Any]] = {
    "customers": _OWNER | {"customer_id": "cus_1", "email": "a@example.com", "created_at": 1},
    "prices": {"price_id": "price_1", "app_id": "skai", "tier": "pro", "lookup_key": None, "seen_at": 1},
    "last_good_tiers": _OWNER
    | {
        "subscription_id": "sub_1", "customer_id": "cus_1", "tier": "pro", "price_id": None, "gives": True,
        "status": "active", "updated_at": 1,
    },
    "disputes": _OWNER
    | {
        "object_id": "dp_1", "kind": "dispute", "customer_id": "cus_1", "remembered_at": 1, "wanted": 2, "open": True,
        "found": "",
    },
    "checkouts": _OWNER | {"attempt": 4, "open": True, "tier": "pro", "price_id": "price_1", "begun_at": 1},
}  # fmt: skip


def test_stripe_ids_of_an_older_version_are_of_our_own_account(database_url: str) -> None:
    opened = _older(database_url, "0007", *_OF_STRIPE.items())
    for name, values in _OF_STRIPE.items():
        table = metadata.tables[name]
        [row] = opened.read_now(lambda conn, table=table: conn.execute(table.select()).mappings().all())
        assert {"account": "", **values}.items() <= dict(row).items()
    owner = opened.read_now(lambda conn: customers.owner(conn, "cus_1"))
    assert owner is not None
    assert owner.user_id == "u1"
    opened.close_now()


@pytest.mark.parametrize("source", ["subscription", "grant", "default"])
def test_the_first_last_good_tiers_are_those_of_the_last_decisions(database_url: str, source: str) -> None:
    decided = {
        **_OWNER, "tier": "pro", "reason": "active", "source": source, "status": "active", "customer_id": "cus_1",
        "subscription_id": "sub_1", "price_id": "price_pro", "changes_to_come": "[]", "concerns": "[]", "version": 1,
        "changed_at": 50, "updated_at": 50,
    }  # fmt: skip
    opened = _older(database_url, "0004", ("entitlements", decided))
    found = opened.read_now(lambda conn: last_good.of_user(conn, "skai", "u1"))
    kept = LastGoodTier("sub_1", "cus_1", "pro", "price_pro", True, None, "active")
    assert found == ({"sub_1": kept} if source == "subscription" else {})
    assert opened.read_now(lambda conn: entitlements.get(conn, "skai", "u1")) is not None
    opened.close_now()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
def test_every_older_version_is_upgraded(database_url: str, revision: str) -> None:
    opened = _older(database_url, revision, _job("u1"))
    assert [job.user_id for job in opened.read_now(_jobs)] == ["u1"]
    assert "outbox" not in opened.read_now(lambda conn: inspect(conn).get_table_names())
    opened.close_now()

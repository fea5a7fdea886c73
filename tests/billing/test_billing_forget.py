"""Forgetting a person: gone everywhere, and nothing that comes late brings them back (T27)."""

from __future__ import annotations

import asyncio
import json

import pytest
from servers.harness import DAY, OWNER, Harness, until
from sqlalchemy import Connection, select

from gateway.billing.accounts.forget import (
    CHANGES_KEPT_SECONDS,
    SESSIONS_LAST_SECONDS,
    forget,
    purge,
    purge_gate_changes,
    traces,
)
from gateway.billing.provision.first_seen_users import FirstSeenUserQueue
from gateway.billing.refresh.refresh import refresh
from gateway.errors import NotFound, UpstreamFailed
from gateway.store import inbox, keys, tombstones
from gateway.store.columns import metadata


def _rows_naming(conn: Connection, *words: str) -> list[str]:
    """Every table that holds one of these words in any text or payload."""
    found = []
    for table in metadata.tables.values():
        for row in conn.execute(select(table)):
            if any(word in (cell.decode() if isinstance(cell, bytes) and table.name == "inbox" else str(cell))
                   for cell in row for word in words):  # fmt: skip
                found.append(table.name)
    return found


async def rows_naming(harness: Harness, *words: str) -> list[str]:
    """Without the gate's change log, which keeps ids for an hour."""
    found = await harness.query(lambda conn: _rows_naming(conn, *words))
    return [table for table in found if table != "gate_changes"]


async def full_life(harness: Harness, user_id: str, app_id: str = "skai", tier: str = "pro") -> str:
    """Somebody with a row in every table; the customer's id."""
    await harness.checkout(user_id, tier, app_id=app_id, email=f"{user_id}@example.com")
    await harness.subscribed(user_id, tier, app_id=app_id)
    now = harness.billing.work.now()
    await harness.store.write(lambda conn: keys.add(conn, "user", user_id.encode() * 8, app_id, user_id, "", now))
    return await harness.customer_id(user_id, app_id)


async def test_the_change_log_names_a_forgotten_user_for_an_hour(harness: Harness) -> None:
    await full_life(harness, "ada-17")
    await forget(harness.billing, "skai", "ada-17")
    assert set(await harness.query(lambda conn: _rows_naming(conn, "ada-17"))) == {"gate_changes"}
    harness.move(CHANGES_KEPT_SECONDS)
    await purge_gate_changes(harness.billing.work)
    assert await harness.query(lambda conn: _rows_naming(conn, "ada-17")) != []
    harness.move(1)
    await purge_gate_changes(harness.billing.work)
    assert await harness.query(lambda conn: _rows_naming(conn, "ada-17")) == []


async def test_a_forgotten_user_is_gone_everywhere(harness: Harness) -> None:
    customer_id = await full_life(harness, "ada-17")
    other_id = await full_life(harness, "bob")
    before = await traces(harness.billing, "skai", "ada-17")
    assert (len(before.subscriptions), before.customers, before.litellm, before.keys) == (
        1, (customer_id,), (("customer", "ada-17"),), 1,
    )  # fmt: skip
    assert {"customers", "inbox", "entitlements", "keys", "litellm_ids"} <= set(await rows_naming(harness, "ada-17"))
    assert await forget(harness.billing, "skai", "ada-17") == before
    assert await rows_naming(harness, "ada-17", customer_id) == []
    assert harness.forgotten_in_gate == [("skai", "ada-17")]
    assert (await harness.billing.stripe.transport.get(f"/v1/customers/{customer_id}"))["deleted"] is True
    assert [each["status"] for each in harness.stripe.state.all("subscription")] == ["canceled", "active"]
    assert "ada-17" not in harness.litellm.state.customers
    assert await harness.tier("bob") == "pro"
    assert await harness.customer_id("bob") == other_id
    assert "bob" in harness.litellm.state.customers


async def test_an_internal_user_of_litellm_goes_too(harness: Harness) -> None:
    await full_life(harness, "ada", "studio", "plus")
    assert "ada" in harness.litellm.state.users
    await forget(harness.billing, "studio", "ada")
    assert "ada" not in harness.litellm.state.users


async def test_late_events_do_not_recreate_a_forgotten_user(harness: Harness) -> None:
    customer_id = await full_life(harness, "ada-17")
    late = [event for event in harness.stripe.state.all("event") if customer_id in json.dumps(event)]
    await forget(harness.billing, "skai", "ada-17")
    for event in [*late, *harness.events()]:
        await harness.post({**event, "id": f"{event['id']}_again"})
    await harness.settle()
    named = await rows_naming(harness, "ada-17")
    assert set(named) <= {"inbox"}  # the events themselves, as they came, until they are purged
    assert "ada-17" not in harness.litellm.state.customers


async def test_a_late_event_of_a_customer_that_could_not_be_deleted_recreates_no_user(harness: Harness) -> None:
    customer_id = await full_life(harness, "ada-17")
    await forget(harness.billing, "skai", "ada-17")
    # As if Stripe still had it, signature and all.
    harness.stripe.state.objects["customer"][customer_id] = {
        "id": customer_id, "object": "customer", "created": 1, "livemode": False, "email": None,
        "metadata": {"app_id": "skai", "user_id": "ada-17"},
    }  # fmt: skip
    await harness.post({
        "id": "evt_late", "object": "event", "type": "invoice.paid", "livemode": False,
        "data": {"object": {"id": "in_1", "object": "invoice", "customer": customer_id}},
    })  # fmt: skip
    harness.forget_requests()
    await harness.settle()
    assert harness.requests("GET", "/v1/customers") == []
    assert await harness.query(lambda conn: tombstones.is_forgotten_customer(conn, customer_id))


async def visits(harness: Harness, user_id: str) -> None:
    first_seen_users = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    assert first_seen_users.add("skai", user_id)
    task = asyncio.create_task(first_seen_users.run())
    await until(first_seen_users._waiting.empty, "the first-seen user is taken")
    await harness.store.write(lambda conn: None)  # behind whatever was being written
    task.cancel()


async def test_a_login_from_before_forgetting_recreates_no_user_and_a_later_one_does(harness: Harness) -> None:
    await full_life(harness, "ada-17")
    await forget(harness.billing, "skai", "ada-17")
    await visits(harness, "ada-17")
    assert await harness.provisioning_job("ada-17") is None
    harness.move(SESSIONS_LAST_SECONDS)
    await visits(harness, "ada-17")
    assert await harness.provisioning_job("ada-17") is not None


async def test_a_forgotten_user_who_buys_gets_a_new_customer(harness: Harness) -> None:
    old = await full_life(harness, "ada-17")
    await forget(harness.billing, "skai", "ada-17")
    await harness.subscribed("ada-17")
    assert await harness.customer_id("ada-17") != old


async def test_what_failed_half_way_is_repeated_to_its_end(harness: Harness) -> None:
    customer_id = await full_life(harness, "ada-17")
    harness.litellm_fault("status", "/customer/delete", status=500, times=1)
    with pytest.raises(UpstreamFailed):
        await forget(harness.billing, "skai", "ada-17")
    assert "ada-17" in harness.litellm.state.customers
    assert await rows_naming(harness, "ada-17", customer_id) == ["litellm_ids"]
    await forget(harness.billing, "skai", "ada-17")
    assert "ada-17" not in harness.litellm.state.customers
    assert await rows_naming(harness, "ada-17", customer_id) == []


async def test_while_stripe_does_not_answer_nothing_is_removed(harness: Harness) -> None:
    customer_id = await full_life(harness, "ada-17")
    harness.stripe.fault("status", f"/v1/customers/{customer_id}", "DELETE", status=500, times=10)
    with pytest.raises(UpstreamFailed):
        await forget(harness.billing, "skai", "ada-17")
    assert await harness.customer_id("ada-17") == customer_id
    assert "ada-17" in harness.litellm.state.customers


async def test_a_refresh_under_way_writes_nothing_of_a_forgotten_user(harness: Harness) -> None:
    await full_life(harness, "ada-17")
    await harness.want("ada-17")
    [lease] = await harness.lease()
    await forget(harness.billing, "skai", "ada-17")
    await refresh(harness.billing, lease, OWNER)
    assert await rows_naming(harness, "ada-17") == []


async def test_an_id_that_apps_share_stays_in_litellm(harness: Harness) -> None:
    def share(apps: dict) -> None:  # type: ignore[type-arg]  # JSON
        for app in apps["apps"]:
            app["litellm"] = {"mode": "customer", "shared_users": True}

    await harness.edit(share)
    await full_life(harness, "ada-17")
    await forget(harness.billing, "skai", "ada-17")
    assert "ada-17" in harness.litellm.state.customers


async def test_forgetting_is_refused_for_an_unknown_app(harness: Harness) -> None:
    with pytest.raises(NotFound):
        await forget(harness.billing, "nowhere", "ada-17")


async def test_old_payloads_go_and_the_events_stay_known(harness: Harness) -> None:
    await harness.subscribed("u1")
    [old, *_] = await harness.query(lambda conn: inbox.recent(conn, 1))
    event = json.loads(old.body)
    harness.move(20 * DAY)
    assert await harness.post({**event, "id": "evt_younger"})
    await harness.settle()
    await purge(harness.billing.work)
    assert (await harness.query(lambda conn: inbox.get(conn, "", old.event_id))).body == old.body
    harness.move(15 * DAY + 1)
    await purge(harness.billing.work)
    purged = await harness.query(lambda conn: inbox.get(conn, "", old.event_id))
    assert (purged.body, purged.state, purged.type) == (b"", old.state, old.type)
    assert (await harness.query(lambda conn: inbox.get(conn, "", "evt_younger"))).body
    assert not await harness.post(event)  # known as a repetition still


async def test_an_event_that_still_waits_keeps_its_payload(harness: Harness) -> None:
    await harness.subscribed("u1")
    [event] = [each for each in harness.stripe.state.all("event") if each["type"] == "customer.subscription.created"]
    assert await harness.post({**event, "id": "evt_waits"})
    harness.move(36 * DAY)
    await purge(harness.billing.work)
    assert (await harness.query(lambda conn: inbox.get(conn, "", "evt_waits"))).body


async def test_a_purged_thin_event_can_be_replayed(harness: Harness) -> None:
    thin = {"id": "evt_thin", "object": "v2.core.event", "type": "v1.invoice.paid", "livemode": False,
            "related_object": {"id": "in_1", "type": "invoice"}}  # fmt: skip
    await harness.post(thin)
    await harness.settle()
    harness.move(36 * DAY)
    await purge(harness.billing.work)
    await harness.store.write(lambda conn: inbox.reopen(conn, "", "evt_thin", harness.billing.work.now()))
    await harness.settle()
    assert (await harness.query(lambda conn: inbox.get(conn, "", "evt_thin"))).state == "ignored"


async def test_what_was_alerted_of_a_forgotten_users_subscriptions_is_over(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    second = {"customer": await harness.customer_id("u1"), "items": [{"price": "price_pro_month"}]}
    await harness.billing.stripe.transport.post("/v1/subscriptions", second)
    await harness.catch_up()
    assert {kind for kind, _ in await harness.alerts()} == {"duplicate_subscription"}
    await forget(harness.billing, "skai", "u1")
    await harness.catch_up()
    assert await harness.alerts() == set()

"""Forgetting a person: gone everywhere, and nothing that comes late brings them back (T27)."""

from __future__ import annotations

import asyncio
import json

import pytest
from servers.world import DAY, OWNER, World, until
from sqlalchemy import Connection, select

from gateway.billing.first_sight import FirstSight
from gateway.billing.forget import SESSIONS_LAST_SECONDS, forget, purge, traces
from gateway.billing.refresh import refresh
from gateway.errors import NotFound, UpstreamFailed
from gateway.store import inbox, keys, tombstones
from gateway.store.schema import metadata


def _rows_naming(conn: Connection, *words: str) -> list[str]:
    """Every table that holds one of these words in any text or payload."""
    found = []
    for table in metadata.tables.values():
        for row in conn.execute(select(table)):
            if any(word in (cell.decode() if isinstance(cell, bytes) and table.name == "inbox" else str(cell))
                   for cell in row for word in words):  # fmt: skip
                found.append(table.name)
    return found


async def rows_naming(world: World, *words: str) -> list[str]:
    return await world.query(lambda conn: _rows_naming(conn, *words))


async def full_life(world: World, user_id: str, app_id: str = "skai", tier: str = "pro") -> str:
    """Somebody with a row in every table; the customer's id."""
    await world.checkout(user_id, tier, app_id=app_id, email=f"{user_id}@example.com")
    await world.subscribed(user_id, tier, app_id=app_id)
    now = world.billing.now()
    await world.store.write(lambda conn: keys.add(conn, "user", user_id.encode() * 8, app_id, user_id, "", now))
    return await world.customer_id(user_id, app_id)


async def test_a_forgotten_user_is_gone_everywhere(world: World) -> None:
    customer_id = await full_life(world, "ada-17")
    other_id = await full_life(world, "bob")
    before = await traces(world.billing, "skai", "ada-17")
    assert (len(before.subscriptions), before.customers, before.litellm, before.keys) == (
        1, (customer_id,), (("customer", "ada-17"),), 1,
    )  # fmt: skip
    assert {"customers", "inbox", "entitlements", "keys", "litellm_ids"} <= set(await rows_naming(world, "ada-17"))
    forgotten: list[tuple[str, str]] = []
    world.billing.forget_gate = lambda app_id, user_id: forgotten.append((app_id, user_id))
    assert await forget(world.billing, "skai", "ada-17") == before
    assert await rows_naming(world, "ada-17", customer_id) == []
    assert forgotten == [("skai", "ada-17")]
    assert (await world.billing.stripe.get(f"/v1/customers/{customer_id}"))["deleted"] is True
    assert [each["status"] for each in world.stripe.world.all("subscription")] == ["canceled", "active"]
    assert "ada-17" not in world.litellm.state.customers
    assert await world.tier("bob") == "pro"
    assert await world.customer_id("bob") == other_id
    assert "bob" in world.litellm.state.customers


async def test_an_internal_user_of_litellm_goes_too(world: World) -> None:
    await full_life(world, "ada", "studio", "plus")
    assert "ada" in world.litellm.state.users
    await forget(world.billing, "studio", "ada")
    assert "ada" not in world.litellm.state.users


async def test_late_events_bring_nobody_back(world: World) -> None:
    customer_id = await full_life(world, "ada-17")
    late = [event for event in world.stripe.world.all("event") if customer_id in json.dumps(event)]
    await forget(world.billing, "skai", "ada-17")
    for event in [*late, *world.events()]:
        await world.post({**event, "id": f"{event['id']}_again"})
    await world.settle()
    named = await rows_naming(world, "ada-17")
    assert set(named) <= {"inbox"}  # the events themselves, as they came, until they are purged
    assert "ada-17" not in world.litellm.state.customers


async def test_a_late_event_of_a_customer_that_could_not_be_deleted_brings_nobody_back(world: World) -> None:
    customer_id = await full_life(world, "ada-17")
    await forget(world.billing, "skai", "ada-17")
    # As if Stripe still had it, signature and all.
    world.stripe.world.objects["customer"][customer_id] = {
        "id": customer_id, "object": "customer", "created": 1, "livemode": False, "email": None,
        "metadata": {"app_id": "skai", "user_id": "ada-17"},
    }  # fmt: skip
    await world.post({
        "id": "evt_late", "object": "event", "type": "invoice.paid", "livemode": False,
        "data": {"object": {"id": "in_1", "object": "invoice", "customer": customer_id}},
    })  # fmt: skip
    world.forget_requests()
    await world.settle()
    assert world.asked("GET", "/v1/customers") == []
    assert await world.query(lambda conn: tombstones.is_forgotten_customer(conn, customer_id))


async def seen(world: World, user_id: str) -> None:
    first_sight = FirstSight(world.billing)
    assert first_sight.saw("skai", user_id)
    task = asyncio.create_task(first_sight.run())
    await until(first_sight._waiting.empty, "the first sight is taken")
    await world.store.write(lambda conn: None)  # behind whatever was being written
    task.cancel()


async def test_a_session_that_is_still_open_brings_nobody_back_and_a_later_one_does(world: World) -> None:
    await full_life(world, "ada-17")
    await forget(world.billing, "skai", "ada-17")
    await seen(world, "ada-17")
    assert await world.wish("ada-17") is None
    world.move(SESSIONS_LAST_SECONDS)
    await seen(world, "ada-17")
    assert await world.wish("ada-17") is not None


async def test_who_comes_back_to_buy_gets_a_customer_of_their_own(world: World) -> None:
    old = await full_life(world, "ada-17")
    await forget(world.billing, "skai", "ada-17")
    await world.subscribed("ada-17")
    assert await world.customer_id("ada-17") != old


async def test_what_failed_half_way_is_repeated_to_its_end(world: World) -> None:
    customer_id = await full_life(world, "ada-17")
    world.litellm_fault("status", "/customer/delete", status=500, times=1)
    with pytest.raises(UpstreamFailed):
        await forget(world.billing, "skai", "ada-17")
    assert "ada-17" in world.litellm.state.customers
    assert await rows_naming(world, "ada-17", customer_id) == ["litellm_ids"]
    await forget(world.billing, "skai", "ada-17")
    assert "ada-17" not in world.litellm.state.customers
    assert await rows_naming(world, "ada-17", customer_id) == []


async def test_while_stripe_cannot_be_asked_nothing_is_removed(world: World) -> None:
    customer_id = await full_life(world, "ada-17")
    world.stripe.fault("status", f"/v1/customers/{customer_id}", "DELETE", status=500, times=10)
    with pytest.raises(UpstreamFailed):
        await forget(world.billing, "skai", "ada-17")
    assert await world.customer_id("ada-17") == customer_id
    assert "ada-17" in world.litellm.state.customers


async def test_a_refresh_under_way_writes_nothing_of_who_was_forgotten(world: World) -> None:
    await full_life(world, "ada-17")
    await world.want("ada-17")
    [lease] = await world.lease()
    await forget(world.billing, "skai", "ada-17")
    await refresh(world.billing, lease, OWNER)
    assert await rows_naming(world, "ada-17") == []


async def test_an_id_that_apps_share_stays_in_litellm(world: World) -> None:
    def share(apps: dict) -> None:  # type: ignore[type-arg]  # JSON
        for app in apps["apps"]:
            app["litellm"] = {"mode": "customer", "shared_users": True}

    await world.edit(share)
    await full_life(world, "ada-17")
    await forget(world.billing, "skai", "ada-17")
    assert "ada-17" in world.litellm.state.customers


async def test_nobody_is_forgotten_of_an_unknown_app(world: World) -> None:
    with pytest.raises(NotFound):
        await forget(world.billing, "nowhere", "ada-17")


async def test_old_payloads_go_and_the_events_stay_known(world: World) -> None:
    await world.subscribed("u1")
    [old, *_] = await world.query(lambda conn: inbox.recent(conn, 1))
    event = json.loads(old.body)
    world.move(20 * DAY)
    assert await world.post({**event, "id": "evt_younger"})
    await world.settle()
    await purge(world.billing)
    assert (await world.query(lambda conn: inbox.get(conn, "", old.event_id))).body == old.body
    world.move(15 * DAY + 1)
    await purge(world.billing)
    purged = await world.query(lambda conn: inbox.get(conn, "", old.event_id))
    assert (purged.body, purged.state, purged.type) == (b"", old.state, old.type)
    assert (await world.query(lambda conn: inbox.get(conn, "", "evt_younger"))).body
    assert not await world.post(event)  # known as a repetition still


async def test_an_event_that_still_waits_keeps_its_payload(world: World) -> None:
    await world.subscribed("u1")
    [event] = [each for each in world.stripe.world.all("event") if each["type"] == "customer.subscription.created"]
    assert await world.post({**event, "id": "evt_waits"})
    world.move(36 * DAY)
    await purge(world.billing)
    assert (await world.query(lambda conn: inbox.get(conn, "", "evt_waits"))).body


async def test_a_purged_thin_event_can_be_replayed(world: World) -> None:
    thin = {"id": "evt_thin", "object": "v2.core.event", "type": "v1.invoice.paid", "livemode": False,
            "related_object": {"id": "in_1", "type": "invoice"}}  # fmt: skip
    await world.post(thin)
    await world.settle()
    world.move(36 * DAY)
    await purge(world.billing)
    await world.store.write(lambda conn: inbox.reopen(conn, "", "evt_thin", world.billing.now()))
    await world.settle()
    assert (await world.query(lambda conn: inbox.get(conn, "", "evt_thin"))).state == "ignored"


async def test_what_was_alerted_of_a_forgotten_users_subscriptions_is_over(world: World) -> None:
    await world.subscribed("u1", "pro")
    second = {"customer": await world.customer_id("u1"), "items": [{"price": "price_pro_month"}]}
    await world.billing.stripe.post("/v1/subscriptions", second)
    await world.catch_up()
    assert {kind for kind, _ in await world.alerts()} == {"duplicate_subscription"}
    await forget(world.billing, "skai", "u1")
    await world.catch_up()
    assert await world.alerts() == set()

"""A user gets another id: everything that was paid for goes along, and nothing stays behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.world import World

from gateway.billing import grants as granting
from gateway.billing.alerting import open_alert
from gateway.billing.keys import create_key
from gateway.billing.move import Moved, move
from gateway.billing.signing import signed_owner
from gateway.errors import Conflict, InvalidInput, NotFound, UpstreamFailed
from gateway.sandbox.stripe.billing import start
from gateway.store import customers, keys


async def moved(world: World, from_user_id: str = "old", to_user_id: str = "new") -> Moved:
    return await move(world.billing, "skai", from_user_id, to_user_id)


async def owner(world: World, customer_id: str) -> str:
    found = await world.query(lambda conn: customers.owner(conn, customer_id))
    return found.user_id if found else ""


def open_sessions(world: World) -> list[dict[str, Any]]:
    return [each for each in world.stripe.world.all("checkout.session") if each["status"] == "open"]


async def test_a_payer_goes_to_the_new_id_with_everything(world: World) -> None:
    await world.subscribed("old", "pro")
    customer_id = await world.customer_id("old")
    await world.store.write(lambda conn: create_key(conn, world.billing.catalog, "skai", "old", "", 1))
    assert await moved(world) == Moved("pro", (customer_id,), 1)
    assert ("skai", "new", "pro") in world.told[-2:]
    assert ("skai", "old", "free") in world.told[-2:]
    await world.settle()
    assert (await world.tier("new"), await world.tier("old")) == ("pro", "free")
    assert await owner(world, customer_id) == "new"
    metadata = world.stripe.world.find("customer", customer_id)["metadata"]
    assert signed_owner(world.billing.signing_keys, metadata) == ("skai", "new")
    assert [each.user_id for each in await world.query(keys.live)] == ["new"]
    assert (world.limits("new") or {})["budget_id"] == "skai.pro"
    assert (world.limits("old") or {})["budget_id"] == "skai.free"
    # What Stripe tells afterwards is about the new id.
    world.stripe.cancel(str((await world.status("new"))["stripe_subscription_id"]))
    await world.catch_up()
    assert (await world.tier("new"), await world.alerts()) == ("free", set())


async def test_the_new_id_has_the_tier_although_stripe_cannot_be_asked_afterwards(world: World) -> None:
    await world.subscribed("old", "pro")
    await moved(world)
    world.stripe.fault("status", "/v1/subscriptions.*", times=99, status=503)
    await world.settle()
    assert (await world.tier("new"), await world.tier("old")) == ("pro", "free")


async def test_a_grant_goes_along(world: World) -> None:
    def give(conn: Any) -> int:
        return granting.give(conn, world.billing.catalog, "skai", "old", "enterprise", "friend", None, 1)

    await world.store.write(give)
    await world.settle()
    await moved(world)
    await world.settle()
    assert (await world.tier("new"), await world.tier("old")) == ("enterprise", "free")


async def test_it_is_refused_when_both_pay_and_changes_nothing(world: World) -> None:
    first, second = await world.subscribed("old", "pro"), await world.subscribed("new", "enterprise")
    with pytest.raises(Conflict) as refused:
        await moved(world)
    assert refused.value.code == "both_pay"
    assert first in refused.value.message
    assert second in refused.value.message
    assert (await world.tier("old"), await world.tier("new")) == ("pro", "enterprise")
    world.stripe.cancel(second)
    await world.catch_up()
    await moved(world)
    await world.settle()
    assert (await world.tier("old"), await world.tier("new")) == ("free", "pro")


async def test_open_checkouts_of_both_expire_so_that_nobody_pays_twice(world: World) -> None:
    await world.checkout("old", "pro")
    await world.checkout("new", "pro")
    await moved(world)
    assert open_sessions(world) == []
    assert (await world.checkout("new", "pro")).kind == "checkout"
    assert len(open_sessions(world)) == 1


async def test_an_open_checkout_of_a_payers_new_id_expires(world: World) -> None:
    await world.subscribed("old", "pro")
    await world.checkout("new", "pro")
    await moved(world)
    assert open_sessions(world) == []
    assert (await world.checkout("new", "enterprise")).kind == "portal"


async def test_a_move_that_was_cut_off_is_finished_by_the_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.subscribed("old", "pro")
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise RuntimeError("killed between Stripe and the store")

        patched.setattr("gateway.billing.move._move", killed)
        with pytest.raises(RuntimeError):
            await moved(world)
    await world.restart()
    assert await world.tier("old") == "pro"
    await moved(world)
    await world.settle()
    assert (await world.tier("new"), await world.tier("old")) == ("pro", "free")
    with pytest.raises(NotFound) as refused:
        await moved(world)
    assert refused.value.code == "unknown_user"


async def test_a_refresh_under_way_takes_nothing_back(world: World) -> None:
    """It read the customers of the old id before the move, and commits after it."""
    await world.subscribed("old", "pro")
    await world.want("old")
    world.stripe.fault("slow", "/v1/subscriptions", "GET", seconds=0.3)
    under_way = asyncio.create_task(world.refresh())
    await asyncio.sleep(0.05)
    await moved(world)
    await under_way
    await world.settle()
    assert (await world.tier("new"), await world.tier("old"), await world.alerts()) == ("pro", "free", set())


async def test_a_customer_that_was_deleted_does_not_stop_the_others(world: World) -> None:
    await world.checkout("old")
    gone = await world.customer_id("old")
    await world.billing.stripe.delete(f"/v1/customers/{gone}")
    assert (await moved(world)).customers == ()


async def test_a_refusal_for_good_is_alerted_until_it_succeeds(world: World) -> None:
    await world.subscribed("old", "pro")
    world.stripe.fault("status", "/v1/customers/.*", "POST", status=422)
    with pytest.raises(UpstreamFailed):
        await moved(world)
    assert await world.alerts() == {("users_move_refused", "skai/old")}
    assert await world.tier("old") == "pro"
    await moved(world)
    assert await world.alerts() == set()


@pytest.mark.parametrize(
    ("from_user_id", "to_user_id", "error"),
    [
        ("nobody", "new", NotFound),
        ("old", "old", InvalidInput),
        ("", "new", InvalidInput),
        ("old", "a\nb", InvalidInput),
    ],
)
async def test_what_cannot_be_moved_is_refused(
    world: World, from_user_id: str, to_user_id: str, error: type[Exception]
) -> None:
    await world.checkout("old")
    with pytest.raises(error):
        await moved(world, from_user_id, to_user_id)


async def test_users_of_other_apps_with_the_same_ids_are_left_alone(world: World) -> None:
    await world.subscribed("old", "pro")
    await world.subscribed("old", "plus", app_id="studio")
    await moved(world)
    await world.settle()
    assert (await world.tier("old", "studio"), await world.tier("new", "studio")) == ("plus", "basic")


async def test_the_old_id_can_buy_again_at_once_as_another_customer(world: World) -> None:
    """Stripe replays the first customer for a day, and that one is the new id's."""
    await world.subscribed("old", "pro")
    await moved(world)
    await world.settle()
    await world.subscribed("old", "enterprise")
    assert (await world.tier("new"), await world.tier("old")) == ("pro", "enterprise")
    assert await world.customer_id("old") != await world.customer_id("new")


@pytest.mark.parametrize("whose", ["old", "new"])
async def test_a_refresh_under_way_writes_nothing_after_the_move(world: World, whose: str) -> None:
    """What it asked Stripe was asked before the move, and nobody can ask again for a while."""
    await world.subscribed("old", "pro")
    await world.checkout("new")
    await world.settle()
    await world.want(whose)
    world.stripe.fault("slow", "/v1/subscriptions", "GET", seconds=0.3)
    under_way = asyncio.create_task(world.refresh())
    await asyncio.sleep(0.05)
    await moved(world)
    world.stripe.fault("status", "/v1/subscriptions", "GET", times=99, status=503)
    await under_way
    assert (await world.tier("new"), await world.tier("old")) == ("pro", "free")
    assert world.told[-2:] == [("skai", "old", "free"), ("skai", "new", "pro")]


async def test_what_was_alerted_of_the_old_id_is_over_with_it(world: World) -> None:
    await world.subscribed("old", "pro")
    for kind in ("checkout_refused", "portal_refused", "currency_mismatch", "refresh_failing"):
        await open_alert(world.billing, kind, "skai/old", "refused")
    await open_alert(world.billing, "checkout_refused", "skai/other", "refused")
    await moved(world)
    await world.settle()
    assert await world.alerts() == {("checkout_refused", "skai/other")}


@pytest.mark.parametrize("whose", ["old", "new"])
async def test_a_concern_that_ends_with_the_move_is_resolved(world: World, whose: str) -> None:
    """Of the id whose tier does not go on: nothing else remembers that it was raised."""
    other = "new" if whose == "old" else "old"
    first = await world.subscribed(whose, "pro")
    second = start(world.stripe.world, await world.customer_id(whose), [{"price": "price_123", "quantity": 1}], {})

    def give(conn: Any) -> int:
        return granting.give(conn, world.billing.catalog, "skai", other, "sovereign", "friend", None, 1)

    await world.store.write(give)
    await world.catch_up()
    assert {kind for kind, _ in await world.alerts()} == {"duplicate_subscription"}
    for subscription_id in (first, str(second["id"])):
        world.stripe.cancel(subscription_id)
    await moved(world)
    await world.settle()
    assert (await world.tier("new"), await world.alerts()) == ("sovereign", set())

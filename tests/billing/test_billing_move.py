"""A user gets another id: everything that was paid for goes along, and nothing stays behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.harness import Harness

from gateway.billing.accounts.keys import create_key
from gateway.billing.accounts.move_user import UserMoveResult, move
from gateway.billing.refresh import grants as granting
from gateway.billing.work.alerting import open_alert
from gateway.errors import Conflict, InvalidInput, NotFound, UpstreamFailed
from gateway.sandbox.stripe.billing import start
from gateway.store import customers, keys
from gateway.stripe.ownership import signed_owner


async def moved(harness: Harness, from_user_id: str = "old", to_user_id: str = "new") -> UserMoveResult:
    return await move(harness.billing, "skai", from_user_id, to_user_id)


async def owner(harness: Harness, customer_id: str) -> str:
    found = await harness.query(lambda conn: customers.owner(conn, customer_id))
    return found.user_id if found else ""


def open_sessions(harness: Harness) -> list[dict[str, Any]]:
    return [each for each in harness.stripe.state.all("checkout.session") if each["status"] == "open"]


async def test_a_payer_goes_to_the_new_id_with_everything(harness: Harness) -> None:
    await harness.subscribed("old", "pro")
    customer_id = await harness.customer_id("old")
    await harness.store.write(lambda conn: create_key(conn, harness.billing.apps.catalog, "skai", "old", "", 1))
    assert await moved(harness) == UserMoveResult("pro", (customer_id,), 1)
    assert ("skai", "new", "pro") in harness.gate_updates[-2:]
    assert ("skai", "old", "free") in harness.gate_updates[-2:]
    await harness.settle()
    assert (await harness.tier("new"), await harness.tier("old")) == ("pro", "free")
    assert await owner(harness, customer_id) == "new"
    metadata = harness.stripe.state.find("customer", customer_id)["metadata"]
    assert signed_owner(harness.billing.account.signing_keys, metadata) == ("skai", "new")
    assert [each.user_id for each in await harness.query(keys.live)] == ["new"]
    assert (harness.limits("new") or {})["budget_id"] == "skai.pro"
    assert (harness.limits("old") or {})["budget_id"] == "skai.free"
    # Later events of Stripe are about the new id.
    harness.stripe.cancel(str((await harness.status("new"))["stripe_subscription_id"]))
    await harness.catch_up()
    assert (await harness.tier("new"), await harness.alerts()) == ("free", set())


async def test_the_new_id_has_the_tier_although_stripe_does_not_answer_afterwards(harness: Harness) -> None:
    await harness.subscribed("old", "pro")
    await moved(harness)
    harness.stripe.fault("status", "/v1/subscriptions.*", times=99, status=503)
    await harness.settle()
    assert (await harness.tier("new"), await harness.tier("old")) == ("pro", "free")


async def test_a_grant_goes_along(harness: Harness) -> None:
    catalog = harness.billing.apps.catalog
    await harness.billing.work.write(lambda tx: granting.give(tx, catalog, "skai", "old", "enterprise", "friend", None))
    await harness.settle()
    await moved(harness)
    await harness.settle()
    assert (await harness.tier("new"), await harness.tier("old")) == ("enterprise", "free")


async def test_it_is_refused_when_both_pay_and_changes_nothing(harness: Harness) -> None:
    first, second = await harness.subscribed("old", "pro"), await harness.subscribed("new", "enterprise")
    with pytest.raises(Conflict) as refused:
        await moved(harness)
    assert refused.value.code == "both_pay"
    assert first in refused.value.message
    assert second in refused.value.message
    assert (await harness.tier("old"), await harness.tier("new")) == ("pro", "enterprise")
    harness.stripe.cancel(second)
    await harness.catch_up()
    await moved(harness)
    await harness.settle()
    assert (await harness.tier("old"), await harness.tier("new")) == ("free", "pro")


async def test_open_checkouts_of_both_ids_expire(harness: Harness) -> None:
    await harness.checkout("old", "pro")
    await harness.checkout("new", "pro")
    await moved(harness)
    assert open_sessions(harness) == []
    assert (await harness.checkout("new", "pro")).kind == "checkout"
    assert len(open_sessions(harness)) == 1


async def test_an_open_checkout_of_a_payers_new_id_expires(harness: Harness) -> None:
    await harness.subscribed("old", "pro")
    await harness.checkout("new", "pro")
    await moved(harness)
    assert open_sessions(harness) == []
    assert (await harness.checkout("new", "enterprise")).kind == "portal"


async def test_a_move_that_was_cut_off_is_finished_by_the_second(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.subscribed("old", "pro")
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise RuntimeError("killed between Stripe and the store")

        patched.setattr("gateway.billing.accounts.move_user._move", killed)
        with pytest.raises(RuntimeError):
            await moved(harness)
    await harness.restart()
    assert await harness.tier("old") == "pro"
    await moved(harness)
    await harness.settle()
    assert (await harness.tier("new"), await harness.tier("old")) == ("pro", "free")
    with pytest.raises(NotFound) as refused:
        await moved(harness)
    assert refused.value.code == "unknown_user"


async def test_a_refresh_under_way_takes_nothing_back(harness: Harness) -> None:
    """It read the customers of the old id before the move, and commits after it."""
    await harness.subscribed("old", "pro")
    await harness.want("old")
    harness.stripe.fault("slow", "/v1/subscriptions", "GET", seconds=0.3)
    under_way = asyncio.create_task(harness.refresh())
    await asyncio.sleep(0.05)
    await moved(harness)
    await under_way
    await harness.settle()
    assert (await harness.tier("new"), await harness.tier("old"), await harness.alerts()) == ("pro", "free", set())


async def test_a_customer_that_was_deleted_does_not_stop_the_others(harness: Harness) -> None:
    await harness.checkout("old")
    gone = await harness.customer_id("old")
    await harness.billing.stripe.transport.delete(f"/v1/customers/{gone}")
    assert (await moved(harness)).customers == ()


async def test_a_refusal_for_good_is_alerted_until_it_succeeds(harness: Harness) -> None:
    await harness.subscribed("old", "pro")
    harness.stripe.fault("status", "/v1/customers/.*", "POST", status=422)
    with pytest.raises(UpstreamFailed):
        await moved(harness)
    assert await harness.alerts() == {("users_move_refused", "skai/old")}
    assert await harness.tier("old") == "pro"
    await moved(harness)
    assert await harness.alerts() == set()


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
    harness: Harness, from_user_id: str, to_user_id: str, error: type[Exception]
) -> None:
    await harness.checkout("old")
    with pytest.raises(error):
        await moved(harness, from_user_id, to_user_id)


async def test_users_of_other_apps_with_the_same_ids_are_left_alone(harness: Harness) -> None:
    await harness.subscribed("old", "pro")
    await harness.subscribed("old", "plus", app_id="studio")
    await moved(harness)
    await harness.settle()
    assert (await harness.tier("old", "studio"), await harness.tier("new", "studio")) == ("plus", "basic")


async def test_the_old_id_can_buy_at_once_with_a_new_customer(harness: Harness) -> None:
    """Stripe replays the first customer for a day, and that one is the new id's."""
    await harness.subscribed("old", "pro")
    await moved(harness)
    await harness.settle()
    await harness.subscribed("old", "enterprise")
    assert (await harness.tier("new"), await harness.tier("old")) == ("pro", "enterprise")
    assert await harness.customer_id("old") != await harness.customer_id("new")


@pytest.mark.parametrize("owner_id", ["old", "new"])
async def test_a_refresh_under_way_writes_nothing_after_the_move(harness: Harness, owner_id: str) -> None:
    """It has read Stripe before the move, and Stripe cannot be read for a while afterwards."""
    await harness.subscribed("old", "pro")
    await harness.checkout("new")
    await harness.settle()
    await harness.want(owner_id)
    harness.stripe.fault("slow", "/v1/subscriptions", "GET", seconds=0.3)
    under_way = asyncio.create_task(harness.refresh())
    await asyncio.sleep(0.05)
    await moved(harness)
    harness.stripe.fault("status", "/v1/subscriptions", "GET", times=99, status=503)
    await under_way
    assert (await harness.tier("new"), await harness.tier("old")) == ("pro", "free")
    assert harness.gate_updates[-2:] == [("skai", "old", "free"), ("skai", "new", "pro")]


async def test_what_was_alerted_of_the_old_id_is_over_with_it(harness: Harness) -> None:
    await harness.subscribed("old", "pro")
    for kind in ("checkout_refused", "portal_refused", "currency_mismatch", "refresh_failing"):
        await open_alert(harness.billing.work, kind, "skai/old", "refused")
    await open_alert(harness.billing.work, "checkout_refused", "skai/other", "refused")
    await moved(harness)
    await harness.settle()
    assert await harness.alerts() == {("checkout_refused", "skai/other")}


@pytest.mark.parametrize("owner_id", ["old", "new"])
async def test_a_concern_that_ends_with_the_move_is_resolved(harness: Harness, owner_id: str) -> None:
    """Of the id that loses the tier: nothing else records that it was raised."""
    other = "new" if owner_id == "old" else "old"
    first = await harness.subscribed(owner_id, "pro")
    second = start(
        harness.stripe.state, await harness.customer_id(owner_id), [{"price": "price_123", "quantity": 1}], {}
    )

    catalog = harness.billing.apps.catalog
    await harness.billing.work.write(lambda tx: granting.give(tx, catalog, "skai", other, "sovereign", "friend", None))
    await harness.catch_up()
    assert {kind for kind, _ in await harness.alerts()} == {"duplicate_subscription"}
    for subscription_id in (first, str(second["id"])):
        harness.stripe.cancel(subscription_id)
    await moved(harness)
    await harness.settle()
    assert (await harness.tier("new"), await harness.alerts()) == ("sovereign", set())

"""LiteLLM holds the limits of the current tier, or the outbox holds the wish: one id, one owner, nothing forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from servers.world import APPS, DAY, World, opened_world, until

from gateway.billing.first_sight import FirstSight
from gateway.billing.grants import give
from gateway.billing.provision import limits_digest, provision, renew_limits
from gateway.catalog import parse
from gateway.catalog.model import Tier
from gateway.errors import StoreUnavailable
from gateway.sandbox.litellm import customers
from gateway.store import litellm_ids, outbox

FREE = {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}
PRO = {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
ENTERPRISE = {"budget_id": "skai.enterprise", "max_budget": 50, "rpm_limit": 120}


async def granted(world: World, user_id: str, tier: str, app_id: str = "skai") -> None:
    """The quickest way onto a tier; nothing is settled."""
    now = world.billing.now()
    await world.store.write(lambda conn: give(conn, world.billing.catalog, app_id, user_id, tier, "r", None, now))


async def see(world: World, *user_ids: str, app_id: str = "skai") -> None:
    """The gate sees these people for the first time, and the queue is worked off."""
    sight = FirstSight(world.billing)
    running = asyncio.create_task(sight.run())
    for user_id in user_ids:
        assert sight.saw(app_id, user_id)
    await until(sight._waiting.empty, "the queue is taken")
    await world.store.write(lambda conn: None)  # behind what was taken
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def wish_of(world: World, user_id: str = "u1", app_id: str = "skai") -> outbox.Wish:
    found = await world.wish(user_id, app_id)
    assert found is not None
    return found


async def test_t3_who_is_seen_first_gets_the_default_tiers_limits(world: World) -> None:
    await see(world, "u1")
    await see(world, "u1", app_id="studio")
    await world.settle()
    assert (world.limits("u1"), world.user_limits("u1")) == (FREE, {"max_budget": 2, "rpm_limit": 5})
    assert world.told == []


async def test_t3_being_seen_again_asks_litellm_for_nothing(world: World) -> None:
    await see(world, "u1", "u1")
    await world.settle()
    world.forget_requests()
    await see(world, "u1")
    await world.restart()
    await see(world, "u1")
    await world.settle()
    assert world.litellm_calls() == {}


async def test_t3_who_was_seen_while_litellm_was_away_is_not_forgotten(world: World) -> None:
    world.litellm_fault("reset", times=1000)
    await see(world, "u1")
    await world.settle()
    await world.restart()
    world.litellm.faults.clear()
    world.move(DAY)
    await world.settle()
    assert world.limits("u1") == FREE


async def test_t3_the_queue_is_bounded_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.first_sight.MAX_WAITING", 3)
    sight = FirstSight(world.billing)
    assert [sight.saw("skai", f"u{number}") is not False for number in range(5)] == [True] * 3 + [False] * 2


async def test_t3_a_full_disk_delays_first_sights_and_loses_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.first_sight.AGAIN_SECONDS", 0.01)
    real, failures = world.store.write, [StoreUnavailable("full"), StoreUnavailable("full")]

    async def write(job: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(job)

    sight = FirstSight(world.billing)
    sight.saw("skai", "u1")
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "write", write)
        running = asyncio.create_task(sight.run())
        await asyncio.wait_for(world.billing.wish_made.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.settle()
    assert world.limits("u1") == FREE


async def test_t3_one_first_sight_that_fails_does_not_end_them_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight = FirstSight(world.billing)
    with monkeypatch.context() as patched:
        patched.setattr("gateway.billing.first_sight.outbox.put", lambda *args: 1 / 0)
        running = asyncio.create_task(sight.run())
        sight.saw("skai", "u1")
        await until(sight._waiting.empty, "the queue is taken")
        await world.store.write(lambda conn: None)
        await asyncio.sleep(0)
    sight.saw("skai", "u2")
    await asyncio.wait_for(world.billing.wish_made.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.settle()
    assert world.limits("u2") == FREE


async def test_t3_what_the_gate_waits_for_is_over_once_litellm_holds_the_limits(world: World) -> None:
    sight = FirstSight(world.billing)
    running = asyncio.create_task(sight.run())
    pending = sight.saw("skai", "u1")
    assert isinstance(pending, asyncio.Future)
    assert sight.saw("skai", "u1") is pending
    await asyncio.wait_for(world.billing.wish_made.wait(), 10)
    assert not pending.done()
    await world.settle()
    assert (pending.done(), world.limits("u1")) == (True, FREE)
    again = sight.saw("skai", "u1")
    assert isinstance(again, asyncio.Future)
    await asyncio.wait_for(again, 10)  # without another call to LiteLLM
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_t3_a_failed_attempt_ends_the_wait(world: World) -> None:
    world.litellm_fault("reset", times=1000)
    sight = FirstSight(world.billing)
    running = asyncio.create_task(sight.run())
    pending = sight.saw("skai", "u1")
    assert isinstance(pending, asyncio.Future)
    await asyncio.wait_for(world.billing.wish_made.wait(), 10)
    await world.settle()
    await asyncio.wait_for(pending, 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_t3_who_waits_at_the_gate_goes_ahead_of_limits_that_are_renewed(world: World) -> None:
    now = world.billing.now()
    await world.store.write(lambda conn: outbox.put(conn, "litellm", "skai", "renewed", {}, now - 60))
    await see(world, "u1")
    (first, second) = await world.store.read(lambda conn: outbox.due(conn, now, 8))
    assert (first.user_id, second.user_id) == ("u1", "renewed")


def test_a_limit_of_zero_is_told_anew_after_an_upgrade_and_no_other_limit_is() -> None:
    """The digests of 1.0 for other tiers stay, so that nobody else is written to again."""
    app = parse(json.dumps(APPS).encode()).apps["skai"]
    (tier, *_) = app.tiers
    mode = {"mode": "customer", "user_id": "{user_id}", "shared_users": False}

    def digest_of_old(changed: Tier) -> str:
        told = [app.app_id, tier.tier_id, mode, asdict(changed.limits)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    nothing = replace(tier, limits=replace(tier.limits, max_budget_usd=0))
    assert limits_digest(app, tier) == digest_of_old(tier)
    assert limits_digest(app, nothing) != digest_of_old(nothing)


async def test_a_user_of_no_app_or_of_one_without_litellm_makes_no_wish(world: World) -> None:
    await world.edit(lambda apps: apps["apps"][1].pop("litellm"))
    await see(world, "u1", app_id="studio")
    await see(world, "u1", app_id="nobody")
    assert await world.wish("u1", "studio") is None
    await granted(world, "u2", "plus", "studio")
    await world.settle()
    assert await world.tier("u2", "studio") == "plus"
    assert world.litellm_calls() == {}


@pytest.mark.parametrize("kind", ["status", "database", "rubbish", "truncated", "reset", "lost", "huge"])
async def test_while_litellm_fails_the_wish_waits_and_an_alert_tells(world: World, kind: str) -> None:
    world.litellm_fault(kind, times=1_000_000, status=503)
    await granted(world, "u1", "pro")
    waits = []
    for failures in range(1, 7):
        assert await world.alerts() == (set() if failures <= 5 else {("litellm_failing", "skai/u1")})
        await world.settle()
        wish = await wish_of(world)
        assert (wish.state, wish.attempts) == ("waiting", failures)
        assert wish.error
        waits.append(wish.due_at - world.billing.now())
        world.move(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32]
    world.litellm.faults.clear()
    await world.settle()
    assert ((await wish_of(world)).state, world.limits("u1"), await world.alerts()) == ("done", PRO, set())


@pytest.mark.parametrize("kind", ["lost", "truncated", "reset", "database"])
@pytest.mark.parametrize("app_id", ["skai", "studio"])
async def test_twice_is_once_wherever_it_broke(world: World, app_id: str, kind: str) -> None:
    """Each call of a provisioning fails in turn; what LiteLLM holds in the end is the same."""
    tier = {"skai": "pro", "studio": "plus"}[app_id]
    for broken in range(4):
        user_id = f"u{broken}"
        for path in ["/"] * broken:
            world.litellm_fault("slow", path)  # passes
        world.litellm_fault(kind)
        await granted(world, user_id, tier, app_id)
        for _ in range(3):
            await world.settle()
            world.move(10)
        world.litellm.faults.clear()
        held = world.limits(user_id) if app_id == "skai" else world.user_limits(user_id)
        assert held == (PRO if app_id == "skai" else {"max_budget": 20, "rpm_limit": 70})
        assert (await wish_of(world, user_id, app_id)).state == "done"


async def test_the_alert_closes_although_the_wish_was_replaced_meanwhile(world: World) -> None:
    """A new wish counts its failures anew."""
    world.litellm_fault("status", times=1_000_000, status=503)
    await granted(world, "u1", "pro")
    for _ in range(6):
        await world.settle()
        world.move(600)
    assert await world.alerts() == {("litellm_failing", "skai/u1")}
    world.litellm.faults.clear()
    await granted(world, "u1", "enterprise")
    await world.settle()
    assert (world.limits("u1"), await world.alerts()) == (ENTERPRISE, set())


async def test_what_litellm_refuses_for_good_is_not_tried_again_until_a_person_says_so(world: World) -> None:
    world.litellm_fault("status", times=1_000_000, status=403, message="this key may not")
    await granted(world, "u1", "pro")
    await world.settle()
    wish = await wish_of(world)
    assert wish.state == "dead"
    assert "this key may not" in wish.error
    assert await world.alerts() == {("litellm_refused", "skai/u1")}
    world.forget_requests()
    world.move(DAY)
    await world.settle()
    assert world.litellm_calls() == {}
    world.litellm.faults.clear()
    assert await world.store.write(lambda conn: outbox.revive(conn, None, world.billing.now())) == 1
    await world.settle()
    assert ((await wish_of(world)).state, world.limits("u1"), await world.alerts()) == ("done", PRO, set())


async def test_a_reserved_id_is_refused_before_litellm_is_asked(world: World) -> None:
    await granted(world, "default_user_id", "pro")
    await world.settle()
    assert (await wish_of(world, "default_user_id")).state == "dead"
    assert await world.alerts() == {("litellm_refused", "skai/default_user_id")}
    assert await world.query(lambda conn: litellm_ids.get(conn, "customer", "default_user_id")) is None
    assert world.litellm_calls() == {}


async def test_a_bug_of_ours_is_tried_ten_times_and_then_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await granted(world, "u1", "pro")
    monkeypatch.setattr("gateway.billing.provision.limits_digest", lambda app, tier: 1 / 0)
    for _ in range(12):
        await world.settle()
        world.move(600)
    wish = await wish_of(world)
    assert (wish.state, wish.attempts, wish.error) == ("dead", 10, "ZeroDivisionError")


async def test_a_wish_that_waited_long_brings_the_tier_of_now(world: World) -> None:
    world.litellm_fault("status", times=1_000_000, status=503)
    await granted(world, "u1", "pro")
    await world.settle()
    wish = await wish_of(world)
    await granted(world, "u1", "enterprise")
    await world.refresh()
    world.litellm.faults.clear()
    await provision(world.billing, wish)  # taken from the outbox before the tier changed
    assert world.limits("u1") == ENTERPRISE
    assert (await wish_of(world)).state == "waiting"  # the newer wish is not done by the older one
    await world.settle()
    assert (await wish_of(world)).state == "done"


def same_litellm(apps: Any) -> None:
    """studio's template makes the id of its user "u1" what skai's user "studio:u1" has."""
    apps["apps"][1]["litellm"] = {"mode": "customer", "user_id": "{app_id}:{user_id}"}


async def test_t2_an_id_that_two_apps_claim_stays_with_the_first(world: World) -> None:
    await world.edit(same_litellm)
    await granted(world, "studio:u1", "enterprise")
    await world.settle()
    await granted(world, "u1", "plus", "studio")
    await world.settle()
    assert world.limits("studio:u1") == ENTERPRISE
    assert (await wish_of(world, "u1", "studio")).state == "dead"
    assert await world.alerts() == {("litellm_refused", "studio/u1")}
    assert await world.tier("u1", "studio") == "plus"
    # Their own template mends it, and nobody else feels that.
    await world.edit(lambda apps: apps["apps"][1]["litellm"].update(user_id="of-{app_id}:{user_id}"))
    assert await renew_limits(world.billing) == 1
    await world.settle()
    assert (world.limits("studio:u1"), await world.alerts()) == (ENTERPRISE, set())
    assert world.limits("of-studio:u1") == {"budget_id": "studio.plus", "max_budget": 20, "rpm_limit": 70}


async def test_t2_apps_that_share_their_users_may_both_write(world: World) -> None:
    def share(apps: Any) -> None:
        for app in apps["apps"]:
            app["litellm"] = {"mode": "customer", "shared_users": True}

    await world.edit(share)
    await granted(world, "u1", "pro")
    await world.settle()
    await granted(world, "u1", "plus", "studio")
    await world.settle()
    assert world.limits("u1") == {"budget_id": "studio.plus", "max_budget": 20, "rpm_limit": 70}
    assert await world.alerts() == set()
    # A restart must not let the two take turns.
    await world.restart()
    assert await renew_limits(world.billing) == 0


async def test_two_tiers_of_like_names_never_share_a_budget(tmp_path: Path) -> None:
    """App "a-b" with tier "c" and app "a" with tier "b-c"."""

    def app(app_id: str, tier_id: str, rpm_limit: int) -> Any:
        return {
            "id": app_id,
            "name": app_id,
            "hosts": [f"{app_id}.example.com"],
            "upstream": "http://127.0.0.1:9",
            "identity": [{"kind": "user_key"}],
            "litellm": {"mode": "customer", "user_id": "{app_id}:{user_id}"},
            "urls": {"success": "https://example.com/", "cancel": "https://example.com/"},
            "tiers": [{"id": tier_id, "name": "T", "limits": {"rpm_limit": rpm_limit}}],
        }

    async with opened_world(tmp_path, {"apps": [app("a-b", "c", 1), app("a", "b-c", 2)]}) as world:
        await see(world, "u1", app_id="a-b")
        await see(world, "u1", app_id="a")
        await world.settle()
        held = [world.limits(litellm_id) for litellm_id in ("a-b:u1", "a:u1")]
        assert [each["rpm_limit"] for each in held if each] == [1, 2]


async def test_an_edit_of_the_limits_reaches_every_user_of_the_tier_and_nobody_else(world: World) -> None:
    for user_id, tier in (("u1", "pro"), ("u2", "pro"), ("u3", "enterprise")):
        await granted(world, user_id, tier)
    await see(world, "u4", "u5")
    await world.settle()
    assert await renew_limits(world.billing) == 0
    await world.edit(lambda apps: apps["apps"][0]["tiers"][1]["limits"].update(rpm_limit=61))
    world.forget_requests()
    assert await renew_limits(world.billing) == 2
    await world.settle()
    touched = {entry["body"]["user_id"] for entry in world.litellm.requests if entry["path"] == "/customer/update"}  # type: ignore[index]  # bodies of this route are objects
    assert touched == {"u1", "u2"}
    assert world.limits("u1") == world.limits("u2") == {**PRO, "rpm_limit": 61}
    assert (world.limits("u3"), world.limits("u4")) == (ENTERPRISE, FREE)
    assert await renew_limits(world.billing) == 0


async def test_an_edit_reaches_users_of_the_default_tier_who_never_paid(world: World) -> None:
    await see(world, "u1", "u2")
    await world.settle()
    await world.edit(lambda apps: apps["apps"][0]["tiers"][0]["limits"].update(max_budget=3))
    assert await renew_limits(world.billing) == 2
    await world.settle()
    assert world.limits("u1") == world.limits("u2") == {**FREE, "max_budget": 3}


async def test_an_edit_that_nobody_came_to_carry_out_is_found_at_the_next_start(world: World) -> None:
    await granted(world, "u1", "pro")
    await world.settle()
    await world.edit(lambda apps: apps["apps"][0]["tiers"][1]["limits"].update(rpm_limit=61))
    await world.restart()
    assert await renew_limits(world.billing) == 1
    assert await renew_limits(world.billing) == 1  # still the same one: it is not done yet
    await world.settle()
    assert world.limits("u1") == {**PRO, "rpm_limit": 61}


async def test_pages_of_users_are_all_renewed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.provision.RENEW_PAGE", 2)
    for number in range(5):
        await granted(world, f"p{number}", "pro")
    await see(world, *(f"f{number}" for number in range(5)))
    await world.settle()
    for tier in (0, 1):
        await world.edit(lambda apps, tier=tier: apps["apps"][0]["tiers"][tier]["limits"].update(rpm_limit=7))  # type: ignore[misc]  # bound per turn
    assert await renew_limits(world.billing) == 10


async def test_switching_litellm_on_reaches_who_pays_already(world: World) -> None:
    section = world.apps["apps"][0]["litellm"]
    await world.edit(lambda apps: apps["apps"][0].pop("litellm"))
    await granted(world, "u1", "pro")
    await see(world, "u2")
    await world.settle()
    assert world.litellm_calls() == {}
    await world.edit(lambda apps: apps["apps"][0].update(litellm=section))
    assert await renew_limits(world.billing) == 1
    await see(world, "u2")  # the gate tells of everybody again after an edit
    await world.settle()
    assert (world.limits("u1"), world.limits("u2")) == (PRO, FREE)


async def test_who_was_seen_while_the_app_had_no_litellm_is_told_when_it_has(world: World) -> None:
    await see(world, "u1")  # the wish is written …
    section = world.apps["apps"][0]["litellm"]
    await world.edit(lambda apps: apps["apps"][0].pop("litellm"))
    await world.settle()  # … and ends without LiteLLM
    await world.edit(lambda apps: apps["apps"][0].update(litellm=section))
    await see(world, "u1")
    await world.settle()
    assert world.limits("u1") == FREE


@pytest.mark.parametrize("user_id", ["{user_id}", "{app_id}:{user_id}"])
async def test_another_mode_or_template_reaches_everybody_under_the_new_id(world: World, user_id: str) -> None:
    await granted(world, "u1", "pro")
    await see(world, "u2")
    await world.settle()
    await world.edit(lambda apps: apps["apps"].pop())
    await world.edit(lambda apps: apps["apps"][0].update(litellm={"mode": "internal_user", "user_id": user_id}))
    assert await renew_limits(world.billing) == 2
    await world.settle()
    ids = [user_id.replace("{app_id}", "skai").replace("{user_id}", each) for each in ("u1", "u2")]
    assert [world.user_limits(each) for each in ids] == [
        {"max_budget": 10, "rpm_limit": 60},
        {"max_budget": 1, "rpm_limit": 10},
    ]
    await world.restart()
    assert await renew_limits(world.billing) == 0


async def test_limits_that_litellm_did_not_take_are_alerted_and_tried_again_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = customers._write_budget

    def deaf(state: Any, budget: Any, sent: Any) -> None:
        real(state, budget, {**sent, "rpm_limit": 1})

    await granted(world, "u1", "pro")
    with monkeypatch.context() as patched:
        patched.setattr(customers, "_write_budget", deaf)
        await world.settle()
    assert await world.alerts() == {("litellm_differs", "skai/u1")}
    answer = (await wish_of(world)).answer
    assert answer is not None
    assert answer["differences"] == ["rpm_limit: wanted 60, LiteLLM has 1"]
    await world.restart()
    assert await renew_limits(world.billing) == 1
    await world.settle()
    assert (world.limits("u1"), await world.alerts()) == (PRO, set())


async def test_a_tier_that_was_renamed_is_the_same_tier_to_litellms_users(world: World) -> None:
    await granted(world, "u1", "pro")
    await world.settle()

    def rename(apps: Any) -> None:
        apps["apps"][0]["tiers"][1].update(id="plus", was=["pro"])

    await world.edit(rename)
    assert await renew_limits(world.billing) == 1
    await world.settle()
    assert world.limits("u1") == {**PRO, "budget_id": "skai.plus"}


async def test_without_changes_nothing_is_claimed_twice(world: World) -> None:
    await granted(world, "u1", "pro")
    await world.settle()
    found = await world.query(lambda conn: litellm_ids.get(conn, "customer", "u1"))
    assert found is not None
    assert (found.owner.app_id, found.owner.user_id, found.budget_duration) == ("skai", "u1", "1d")

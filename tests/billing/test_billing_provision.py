"""LiteLLM holds the limits of the current tier, or a provisioning job waits: one id, one owner, nothing forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from servers.harness import APPS, DAY, Harness, open_harness, until

from gateway.billing.provision.first_seen_users import FirstSeenUserQueue
from gateway.billing.provision.provision import limits_digest, provision, renew_limits
from gateway.billing.refresh.grants import give
from gateway.billing.work.transaction import Loop
from gateway.catalog import parse
from gateway.catalog.model import Tier
from gateway.errors import StoreUnavailable
from gateway.sandbox.litellm import customers
from gateway.store import litellm_ids, provisioning

FREE = {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}
PRO = {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
ENTERPRISE = {"budget_id": "skai.enterprise", "max_budget": 50, "rpm_limit": 120}


async def granted(harness: Harness, user_id: str, tier: str, app_id: str = "skai") -> None:
    """The quickest way onto a tier; nothing is settled."""
    await harness.billing.work.write(
        lambda tx: give(tx, harness.billing.apps.catalog, app_id, user_id, tier, "r", None)
    )


async def see(harness: Harness, *user_ids: str, app_id: str = "skai") -> None:
    """The gate sees these people for the first time, and the queue is worked off."""
    queue = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    running = asyncio.create_task(queue.run())
    for user_id in user_ids:
        assert queue.add(app_id, user_id)
    await until(queue._waiting.empty, "the queue is empty")
    await harness.store.write(lambda conn: None)  # after the writes of the queue
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def provisioning_job_of(
    harness: Harness, user_id: str = "u1", app_id: str = "skai"
) -> provisioning.ProvisioningJob:
    found = await harness.provisioning_job(user_id, app_id)
    assert found is not None
    return found


async def test_t3_a_first_seen_user_gets_the_default_tiers_limits(harness: Harness) -> None:
    await see(harness, "u1")
    await see(harness, "u1", app_id="studio")
    await harness.settle()
    assert (harness.limits("u1"), harness.user_limits("u1")) == (FREE, {"max_budget": 2, "rpm_limit": 5})
    assert harness.gate_updates == []


async def test_t3_a_known_user_causes_no_call_to_litellm(harness: Harness) -> None:
    await see(harness, "u1", "u1")
    await harness.settle()
    harness.forget_requests()
    await see(harness, "u1")
    await harness.restart()
    await see(harness, "u1")
    await harness.settle()
    assert harness.litellm_calls() == {}


async def test_t3_a_user_seen_during_an_outage_of_litellm_is_provisioned_later(harness: Harness) -> None:
    harness.litellm_fault("reset", times=1000)
    await see(harness, "u1")
    await harness.settle()
    await harness.restart()
    harness.litellm.faults.clear()
    harness.move(DAY)
    await harness.settle()
    assert harness.limits("u1") == FREE


async def test_t3_the_queue_is_bounded_and_says_so(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.provision.first_seen_users.MAX_WAITING", 3)
    queue = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    assert [queue.add("skai", f"u{number}") is not False for number in range(5)] == [True] * 3 + [False] * 2


async def test_t3_a_full_disk_delays_first_seen_users_and_loses_none(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.billing.work.retry.STORE_RETRY_SECONDS", 0.01)
    real, failures = harness.store.write, [StoreUnavailable("full"), StoreUnavailable("full")]

    async def write(job: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(job)

    queue = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    queue.add("skai", "u1")
    with monkeypatch.context() as patched:
        patched.setattr(harness.store, "write", write)
        running = asyncio.create_task(queue.run())
        await asyncio.wait_for(harness.billing.work.wakeups[Loop.PROVISION].wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await harness.settle()
    assert harness.limits("u1") == FREE


async def test_t3_one_first_seen_user_that_fails_does_not_stop_the_queue(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    with monkeypatch.context() as patched:
        patched.setattr("gateway.billing.work.transaction.provisioning.put", lambda *args, **more: 1 / 0)
        running = asyncio.create_task(queue.run())
        queue.add("skai", "u1")
        await until(queue._waiting.empty, "the queue is empty")
        await harness.store.write(lambda conn: None)
        await asyncio.sleep(0)
    queue.add("skai", "u2")
    await asyncio.wait_for(harness.billing.work.wakeups[Loop.PROVISION].wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await harness.settle()
    assert harness.limits("u2") == FREE


async def test_t3_what_the_gate_waits_for_is_over_once_litellm_holds_the_limits(harness: Harness) -> None:
    queue = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    harness.due.on_provisioning_attempt = queue.resolve
    running = asyncio.create_task(queue.run())
    pending = queue.add("skai", "u1")
    assert isinstance(pending, asyncio.Future)
    assert queue.add("skai", "u1") is pending
    await asyncio.wait_for(harness.billing.work.wakeups[Loop.PROVISION].wait(), 10)
    assert not pending.done()
    await harness.settle()
    assert (pending.done(), harness.limits("u1")) == (True, FREE)
    second = queue.add("skai", "u1")
    assert isinstance(second, asyncio.Future)
    await asyncio.wait_for(second, 10)  # without another call to LiteLLM
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_t3_a_failed_attempt_ends_the_wait(harness: Harness) -> None:
    harness.litellm_fault("reset", times=1000)
    queue = FirstSeenUserQueue(harness.billing.work, harness.billing.apps)
    harness.due.on_provisioning_attempt = queue.resolve
    running = asyncio.create_task(queue.run())
    pending = queue.add("skai", "u1")
    assert isinstance(pending, asyncio.Future)
    await asyncio.wait_for(harness.billing.work.wakeups[Loop.PROVISION].wait(), 10)
    await harness.settle()
    await asyncio.wait_for(pending, 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_t3_who_waits_at_the_gate_goes_ahead_of_limits_that_are_renewed(harness: Harness) -> None:
    now = harness.billing.work.now()
    await harness.store.write(lambda conn: provisioning.put(conn, "skai", "renewed", now - 60))
    await see(harness, "u1")
    (first, second) = await harness.store.read(lambda conn: provisioning.due(conn, now, 8))
    assert (first.user_id, second.user_id) == ("u1", "renewed")


def test_a_limit_of_zero_is_written_again_after_an_upgrade_and_no_other_limit_is() -> None:
    """The digests of 1.0 for other tiers stay, so that no other user is rewritten."""
    app = parse(json.dumps(APPS).encode()).apps["skai"]
    (tier, *_) = app.tiers
    mode = {"mode": "customer", "user_id": "{user_id}", "shared_users": False}

    def digest_of_old(changed: Tier) -> str:
        parts = [app.app_id, tier.tier_id, mode, asdict(changed.limits)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    nothing = replace(tier, limits=replace(tier.limits, max_budget_usd=0))
    assert limits_digest(app, tier) == digest_of_old(tier)
    assert limits_digest(app, nothing) != digest_of_old(nothing)


async def test_a_user_of_no_app_or_of_one_without_litellm_makes_no_job(harness: Harness) -> None:
    await harness.edit(lambda apps: apps["apps"][1].pop("litellm"))
    await see(harness, "u1", app_id="studio")
    await see(harness, "u1", app_id="nobody")
    assert await harness.provisioning_job("u1", "studio") is None
    await granted(harness, "u2", "plus", "studio")
    await harness.settle()
    assert await harness.tier("u2", "studio") == "plus"
    assert harness.litellm_calls() == {}


@pytest.mark.parametrize("kind", ["status", "database", "rubbish", "truncated", "reset", "lost", "huge"])
async def test_while_litellm_fails_the_job_waits_and_an_alert_opens(harness: Harness, kind: str) -> None:
    harness.litellm_fault(kind, times=1_000_000, status=503)
    await granted(harness, "u1", "pro")
    waits = []
    for failures in range(1, 7):
        assert await harness.alerts() == (set() if failures <= 5 else {("litellm_failing", "skai/u1")})
        await harness.settle()
        job = await provisioning_job_of(harness)
        assert (job.state, job.attempts) == ("waiting", failures)
        assert job.error
        waits.append(job.due_at - harness.billing.work.now())
        harness.move(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32]
    harness.litellm.faults.clear()
    await harness.settle()
    assert ((await provisioning_job_of(harness)).state, harness.limits("u1"), await harness.alerts()) == (
        "done",
        PRO,
        set(),
    )


@pytest.mark.parametrize("kind", ["lost", "truncated", "reset", "database"])
@pytest.mark.parametrize("app_id", ["skai", "studio"])
async def test_twice_is_once_wherever_it_broke(harness: Harness, app_id: str, kind: str) -> None:
    """Each call of a provisioning fails in turn; what LiteLLM holds in the end is the same."""
    tier = {"skai": "pro", "studio": "plus"}[app_id]
    for broken in range(4):
        user_id = f"u{broken}"
        for path in ["/"] * broken:
            harness.litellm_fault("slow", path)  # passes
        harness.litellm_fault(kind)
        await granted(harness, user_id, tier, app_id)
        for _ in range(3):
            await harness.settle()
            harness.move(10)
        harness.litellm.faults.clear()
        stored = harness.limits(user_id) if app_id == "skai" else harness.user_limits(user_id)
        assert stored == (PRO if app_id == "skai" else {"max_budget": 20, "rpm_limit": 70})
        assert (await provisioning_job_of(harness, user_id, app_id)).state == "done"


async def test_the_alert_is_resolved_although_the_job_was_replaced_meanwhile(harness: Harness) -> None:
    """A new job counts its failures from zero."""
    harness.litellm_fault("status", times=1_000_000, status=503)
    await granted(harness, "u1", "pro")
    for _ in range(6):
        await harness.settle()
        harness.move(600)
    assert await harness.alerts() == {("litellm_failing", "skai/u1")}
    harness.litellm.faults.clear()
    await granted(harness, "u1", "enterprise")
    await harness.settle()
    assert (harness.limits("u1"), await harness.alerts()) == (ENTERPRISE, set())


async def test_a_refused_job_is_dead_until_an_operator_retries_it(harness: Harness) -> None:
    harness.litellm_fault("status", times=1_000_000, status=403, message="this key may not")
    await granted(harness, "u1", "pro")
    await harness.settle()
    job = await provisioning_job_of(harness)
    assert job.state == "dead"
    assert "this key may not" in job.error
    assert await harness.alerts() == {("litellm_refused", "skai/u1")}
    harness.forget_requests()
    harness.move(DAY)
    await harness.settle()
    assert harness.litellm_calls() == {}
    harness.litellm.faults.clear()
    assert await harness.store.write(lambda conn: provisioning.revive(conn, harness.billing.work.now())) == 1
    await harness.settle()
    assert ((await provisioning_job_of(harness)).state, harness.limits("u1"), await harness.alerts()) == (
        "done",
        PRO,
        set(),
    )


async def test_a_reserved_id_is_refused_without_a_request_to_litellm(harness: Harness) -> None:
    await granted(harness, "default_user_id", "pro")
    await harness.settle()
    assert (await provisioning_job_of(harness, "default_user_id")).state == "dead"
    assert await harness.alerts() == {("litellm_refused", "skai/default_user_id")}
    assert await harness.query(lambda conn: litellm_ids.get(conn, "customer", "default_user_id")) is None
    assert harness.litellm_calls() == {}


async def test_an_internal_error_is_retried_ten_times_and_then_dead(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await granted(harness, "u1", "pro")
    monkeypatch.setattr("gateway.billing.provision.provision.limits_digest", lambda app, tier: 1 / 0)
    for _ in range(12):
        await harness.settle()
        harness.move(600)
    job = await provisioning_job_of(harness)
    assert (job.state, job.attempts, job.error) == ("dead", 10, "ZeroDivisionError")


async def test_a_delayed_job_writes_the_current_tier(harness: Harness) -> None:
    harness.litellm_fault("status", times=1_000_000, status=503)
    await granted(harness, "u1", "pro")
    await harness.settle()
    job = await provisioning_job_of(harness)
    await granted(harness, "u1", "enterprise")
    await harness.refresh()
    harness.litellm.faults.clear()
    await provision(harness.billing, job)  # read before the tier changed
    assert harness.limits("u1") == ENTERPRISE
    assert (await provisioning_job_of(harness)).state == "waiting"  # the newer job is not done by the older one
    await harness.settle()
    assert (await provisioning_job_of(harness)).state == "done"


def same_litellm(apps: Any) -> None:
    """studio's template makes the id of its user "u1" what skai's user "studio:u1" has."""
    apps["apps"][1]["litellm"] = {"mode": "customer", "user_id": "{app_id}:{user_id}"}


async def test_t2_an_id_that_two_apps_use_stays_with_the_first(harness: Harness) -> None:
    await harness.edit(same_litellm)
    await granted(harness, "studio:u1", "enterprise")
    await harness.settle()
    await granted(harness, "u1", "plus", "studio")
    await harness.settle()
    assert harness.limits("studio:u1") == ENTERPRISE
    assert (await provisioning_job_of(harness, "u1", "studio")).state == "dead"
    assert await harness.alerts() == {("litellm_refused", "studio/u1")}
    assert await harness.tier("u1", "studio") == "plus"
    # A template of their own corrects it and changes no other app.
    await harness.edit(lambda apps: apps["apps"][1]["litellm"].update(user_id="of-{app_id}:{user_id}"))
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 1
    await harness.settle()
    assert (harness.limits("studio:u1"), await harness.alerts()) == (ENTERPRISE, set())
    assert harness.limits("of-studio:u1") == {"budget_id": "studio.plus", "max_budget": 20, "rpm_limit": 70}


async def test_t2_apps_that_share_their_users_may_both_write(harness: Harness) -> None:
    def share(apps: Any) -> None:
        for app in apps["apps"]:
            app["litellm"] = {"mode": "customer", "shared_users": True}

    await harness.edit(share)
    await granted(harness, "u1", "pro")
    await harness.settle()
    await granted(harness, "u1", "plus", "studio")
    await harness.settle()
    assert harness.limits("u1") == {"budget_id": "studio.plus", "max_budget": 20, "rpm_limit": 70}
    assert await harness.alerts() == set()
    # A restart must not let the two take turns.
    await harness.restart()
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 0


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

    async with open_harness(tmp_path, {"apps": [app("a-b", "c", 1), app("a", "b-c", 2)]}) as harness:
        await see(harness, "u1", app_id="a-b")
        await see(harness, "u1", app_id="a")
        await harness.settle()
        stored = [harness.limits(litellm_id) for litellm_id in ("a-b:u1", "a:u1")]
        assert [each["rpm_limit"] for each in stored if each] == [1, 2]


async def test_an_edit_of_the_limits_reaches_every_user_of_the_tier_and_nobody_else(harness: Harness) -> None:
    for user_id, tier in (("u1", "pro"), ("u2", "pro"), ("u3", "enterprise")):
        await granted(harness, user_id, tier)
    await see(harness, "u4", "u5")
    await harness.settle()
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 0
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][1]["limits"].update(rpm_limit=61))
    harness.forget_requests()
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 2
    await harness.settle()
    touched = {entry["body"]["user_id"] for entry in harness.litellm.requests if entry["path"] == "/customer/update"}  # type: ignore[index]  # bodies of this route are objects
    assert touched == {"u1", "u2"}
    assert harness.limits("u1") == harness.limits("u2") == {**PRO, "rpm_limit": 61}
    assert (harness.limits("u3"), harness.limits("u4")) == (ENTERPRISE, FREE)
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 0


async def test_an_edit_reaches_users_of_the_default_tier_who_never_paid(harness: Harness) -> None:
    await see(harness, "u1", "u2")
    await harness.settle()
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][0]["limits"].update(max_budget=3))
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 2
    await harness.settle()
    assert harness.limits("u1") == harness.limits("u2") == {**FREE, "max_budget": 3}


async def test_an_edit_that_nobody_came_to_carry_out_is_found_at_the_next_start(harness: Harness) -> None:
    await granted(harness, "u1", "pro")
    await harness.settle()
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][1]["limits"].update(rpm_limit=61))
    await harness.restart()
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 1
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 1  # still the same one: it is not done yet
    await harness.settle()
    assert harness.limits("u1") == {**PRO, "rpm_limit": 61}


async def test_pages_of_users_are_all_renewed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.provision.provision.RENEW_PAGE", 2)
    for number in range(5):
        await granted(harness, f"p{number}", "pro")
    await see(harness, *(f"f{number}" for number in range(5)))
    await harness.settle()
    for tier in (0, 1):
        await harness.edit(lambda apps, tier=tier: apps["apps"][0]["tiers"][tier]["limits"].update(rpm_limit=7))  # type: ignore[misc]  # bound per turn
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 10


async def test_switching_litellm_on_reaches_who_pays_already(harness: Harness) -> None:
    section = harness.apps["apps"][0]["litellm"]
    await harness.edit(lambda apps: apps["apps"][0].pop("litellm"))
    await granted(harness, "u1", "pro")
    await see(harness, "u2")
    await harness.settle()
    assert harness.litellm_calls() == {}
    await harness.edit(lambda apps: apps["apps"][0].update(litellm=section))
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 1
    await see(harness, "u2")  # after an edit the gate reports every user as first-seen
    await harness.settle()
    assert (harness.limits("u1"), harness.limits("u2")) == (PRO, FREE)


async def test_a_user_seen_while_the_app_had_no_litellm_is_provisioned_when_it_has(harness: Harness) -> None:
    await see(harness, "u1")  # the job is written …
    section = harness.apps["apps"][0]["litellm"]
    await harness.edit(lambda apps: apps["apps"][0].pop("litellm"))
    await harness.settle()  # … and ends without LiteLLM
    await harness.edit(lambda apps: apps["apps"][0].update(litellm=section))
    await see(harness, "u1")
    await harness.settle()
    assert harness.limits("u1") == FREE


@pytest.mark.parametrize("user_id", ["{user_id}", "{app_id}:{user_id}"])
async def test_another_mode_or_template_reaches_everybody_under_the_new_id(harness: Harness, user_id: str) -> None:
    await granted(harness, "u1", "pro")
    await see(harness, "u2")
    await harness.settle()
    await harness.edit(lambda apps: apps["apps"].pop())
    await harness.edit(lambda apps: apps["apps"][0].update(litellm={"mode": "internal_user", "user_id": user_id}))
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 2
    await harness.settle()
    ids = [user_id.replace("{app_id}", "skai").replace("{user_id}", each) for each in ("u1", "u2")]
    assert [harness.user_limits(each) for each in ids] == [
        {"max_budget": 10, "rpm_limit": 60},
        {"max_budget": 1, "rpm_limit": 10},
    ]
    await harness.restart()
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 0


async def test_limits_that_litellm_did_not_accept_are_alerted_and_retried_at_the_next_start(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = customers._write_budget

    def deaf(state: Any, budget: Any, sent: Any) -> None:
        real(state, budget, {**sent, "rpm_limit": 1})

    await granted(harness, "u1", "pro")
    with monkeypatch.context() as patched:
        patched.setattr(customers, "_write_budget", deaf)
        await harness.settle()
    assert await harness.alerts() == {("litellm_differs", "skai/u1")}
    answer = (await provisioning_job_of(harness)).answer
    assert answer is not None
    assert answer["differences"] == ["rpm_limit: expected 60, LiteLLM has 1"]
    await harness.restart()
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 1
    await harness.settle()
    assert (harness.limits("u1"), await harness.alerts()) == (PRO, set())


async def test_a_tier_that_was_renamed_is_the_same_tier_to_litellms_users(harness: Harness) -> None:
    await granted(harness, "u1", "pro")
    await harness.settle()

    def rename(apps: Any) -> None:
        apps["apps"][0]["tiers"][1].update(id="plus", was=["pro"])

    await harness.edit(rename)
    assert await renew_limits(harness.billing.work, harness.billing.apps) == 1
    await harness.settle()
    assert harness.limits("u1") == {**PRO, "budget_id": "skai.plus"}


async def test_without_changes_nothing_is_reserved_twice(harness: Harness) -> None:
    await granted(harness, "u1", "pro")
    await harness.settle()
    found = await harness.query(lambda conn: litellm_ids.get(conn, "customer", "u1"))
    assert found is not None
    assert (found.owner.app_id, found.owner.user_id, found.budget_duration) == ("skai", "u1", "1d")

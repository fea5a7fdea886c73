"""`skpay reconcile` and /admin/reconcile of a whole running server."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers.running import Running, running_application

from gateway.billing.reconcile.state import ReconcileOptions
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.errors import Conflict


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async def nothing() -> None:
        """In the place of asking Stripe for events that were missed, which may find the purchase before we do."""

    async with running_application(tmp_path) as started:
        started.application._background.start("missed events", nothing)
        started.application.parts.billing.reconciling.pace = RateLimiter(1e9)
        yield started


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + 15
    while not await holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


async def bought_unheard(running: Running, user_id: str) -> None:
    """A purchase without a webhook."""
    for endpoint in running.stripe.state.all("webhook_endpoint"):
        endpoint["status"] = "disabled"
    status, answer = await running.json("POST", "/checkout/skai", json={"user_id": user_id, "tier": "pro"})
    assert status == 200, answer
    async with running.session.post(answer["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
        assert paid.status == 303


async def tier(running: Running, user_id: str) -> str:
    return str((await running.json("GET", f"/status/skai/{user_id}"))[1]["tier"])


@dataclass
class Ran:
    code: int
    out: str
    err: str


async def skpay(running: Running, *arguments: str) -> Ran:
    """The command in a process of its own, as an operator runs it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "reconcile", *arguments,
        env={**os.environ, **running.environ, "PORT": str(running.application.web_port), "COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def test_the_command_reports_repairs_and_then_finds_nothing(running: Running) -> None:
    await bought_unheard(running, "u1")
    looked = await skpay(running)
    assert looked.code == 1, looked
    assert "paid but blocked" in looked.out
    assert "pro (active)" in looked.out
    assert await tier(running, "u1") == "free"
    repaired = await skpay(running, "--apply")
    assert repaired.code == 0, repaired

    async def raised() -> bool:
        return await tier(running, "u1") == "pro" and running.litellm.state.customers["u1"].budget_id == "skai.pro"

    await until(raised, "the repair reaches store and LiteLLM")
    second = await skpay(running)
    assert second.code == 0, second
    assert "agree" in second.out


async def test_the_report_as_json_is_for_programs(running: Running) -> None:
    await bought_unheard(running, "u1")
    ran = await skpay(running, "--json")
    assert ran.code == 1, ran
    report = json.loads(ran.out)
    assert [(line["kind"], line["user_id"]) for line in report["lines"]] == [("paid_but_blocked", "u1")]
    assert report["counts"]["paid_but_blocked"] == 1


async def test_one_app_is_reconciled_alone(running: Running) -> None:
    await bought_unheard(running, "u1")
    assert (await skpay(running, "--app", "blog")).code == 0
    unknown = await skpay(running, "--app", "nope")
    assert unknown.code == 2, unknown
    assert "nope" in unknown.err


async def test_yes_without_apply_is_refused(running: Running) -> None:
    ran = await skpay(running, "--yes")
    assert ran.code == 2, ran
    status, answer = await running.admin("POST", "/admin/reconcile", {"yes": True})
    assert (status, answer["error"]) == (400, "invalid_input")


async def test_an_error_of_stripe_is_reported_and_nothing_is_changed(running: Running) -> None:
    running.stripe.fault("status", "/v1/subscriptions", "GET", times=9, status=403)
    ran = await skpay(running, "--apply", "--yes")
    assert ran.code == 3, ran
    assert "Nothing was compared or changed" in ran.err


async def test_without_a_server_it_says_how_to_start_one(running: Running) -> None:
    await running.application.stop()
    ran = await skpay(running)
    assert ran.code == 3, ran
    assert "skpay serve" in ran.err


async def test_only_one_at_a_time(running: Running) -> None:
    reconciling = running.application.parts.billing.reconciling
    reconciling.pace = RateLimiter(0.5)  # so that the first is still under way
    status, answer = await running.admin("POST", "/admin/reconcile", {})
    assert (status, answer["job_number"]) == (202, 1)
    status, answer = await running.admin("POST", "/admin/reconcile", {})
    assert (status, answer["error"]) == (409, "reconcile_under_way")
    with pytest.raises(Conflict):
        reconciling.request(ReconcileOptions())


async def test_polling_shows_the_progress_and_then_the_report(running: Running) -> None:
    async def over() -> bool:
        return not (await running.admin("GET", "/admin/reconcile"))[1]["under_way"]

    _, before = await running.admin("GET", "/admin/reconcile")
    assert (before["job_number"], before["report"]) == (0, None)
    await running.admin("POST", "/admin/reconcile", {"app_id": "skai"})
    await until(over, "the comparison ends")
    _, answer = await running.admin("GET", "/admin/reconcile")
    assert answer["report"]["app_id"] == "skai"
    assert answer["error"] is None


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_only_the_operator_may(running: Running, method: str) -> None:
    more: dict[str, Any] = {"json": {}} if method == "POST" else {}
    status, _ = await running.json(method, "/admin/reconcile", **more)
    assert status == 401


async def test_missed_events_are_fetched_soon_after_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.reconcile.schedule.FIRST_FILL_SECONDS", 0.01)
    monkeypatch.setattr("gateway.billing.reconcile.schedule.FILL_SECONDS", 0.05)
    async with running_application(tmp_path) as running:
        await bought_unheard(running, "u1")

        async def raised() -> bool:
            return await tier(running, "u1") == "pro"

        await until(raised, "the event that no webhook brought is fetched")


async def test_the_daily_pass_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.reconcile.schedule.FIRST_PASS_SECONDS", 1)
    async with running_application(tmp_path) as running:
        running.application.parts.billing.reconciling.pace = RateLimiter(1e9)
        await bought_unheard(running, "u1")

        async def raised() -> bool:
            return await tier(running, "u1") == "pro"

        await until(raised, "the daily pass finds the payer")

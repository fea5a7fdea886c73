"""The sandbox LiteLLM does what the real one was seen to do, its traps included (T12)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from gateway.sandbox.litellm import Fault, LiteLLMSandbox, durations

KEY = "sk-master-of-the-sandbox-77aa"
SUNDAY = 1_795_384_200.0  # 2026-11-22 21:50:00 UTC


@dataclass
class Served:
    """A sandbox behind a real socket, and its clock."""

    sandbox: LiteLLMSandbox
    url: str
    session: aiohttp.ClientSession
    now: list[float]

    async def post(self, path: str, body: object, key: str = KEY, **headers: str) -> tuple[int, Any]:
        headers["Authorization"] = f"Bearer {key}"
        async with self.session.post(self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def chat(self, model: str = "gpt-small", key: str = KEY, **headers: str) -> int:
        return (await self.post("/v1/chat/completions", {"model": model, "messages": []}, key, **headers))[0]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def serve(aiohttp_server: Any, session: aiohttp.ClientSession) -> Any:
    async def start(**options: Any) -> Served:
        now = [SUNDAY]
        sandbox = LiteLLMSandbox(KEY, clock=lambda: now[0], **options)
        server = await aiohttp_server(sandbox.application())
        return Served(sandbox, str(server.make_url("")).rstrip("/"), session, now)

    return start


@pytest.fixture
async def served(serve: Any) -> Served:
    return await serve()


@pytest.mark.parametrize(
    ("duration", "ends"),
    [
        ("1d", "2026-11-23T00:00:00Z"),
        ("24h", "2026-11-23T00:00:00Z"),
        ("daily", "2026-11-23T00:00:00Z"),
        ("7d", "2026-11-23T00:00:00Z"),
        ("1w", "2026-11-23T00:00:00Z"),
        ("weekly", "2026-11-23T00:00:00Z"),
        ("30d", "2026-12-01T00:00:00Z"),
        ("1mo", "2026-12-01T00:00:00Z"),
        ("monthly", "2026-12-01T00:00:00Z"),
        ("2mo", "2027-01-01T00:00:00Z"),
        ("1h", "2026-11-22T22:00:00Z"),
        ("5m", "2026-11-22T21:55:00Z"),
        ("86400s", "2026-11-23T21:50:00Z"),
    ],
)
def test_a_budget_ends_by_litellms_calendar(duration: str, ends: str) -> None:
    assert durations.valid(duration)
    assert durations.text(durations.reset_at(duration, SUNDAY)) == ends


@pytest.mark.parametrize("duration", ["1 day", "0d", "1D", "d", "", "-1d", "1y"])
def test_a_duration_that_litellm_cannot_read_is_invalid(duration: str) -> None:
    assert not durations.valid(duration)


@pytest.mark.parametrize(
    ("version", "max_budget", "budget_duration", "rate"),
    [
        ("1.80.0", 1.0, "1d", 5),
        ("1.81.0", 1.0, "1d", 5),
        ("1.82.0", None, "1d", 5),
        ("1.99.4", None, "1d", 5),
        ("1.103.0", None, None, 5),
        ("1.106.2", None, None, None),
        ("1.109.1", None, None, None),
    ],
)
async def test_null_means_what_it_meant_in_that_version(
    serve: Any, version: str, max_budget: float | None, budget_duration: str | None, rate: int | None
) -> None:
    served = await serve(version=version)
    limits = {"max_budget": 1, "budget_duration": "1d", "tpm_limit": 5, "rpm_limit": 5, "models": ["gpt-small"]}
    await served.post("/user/update", {"user_id": "u", **limits})
    nulls = {**dict.fromkeys(limits), "models": []}
    _, answer = await served.post("/user/update", {"user_id": "u", **nulls})
    row = answer["data"]
    assert (row["max_budget"], row["budget_duration"], row["tpm_limit"], row["rpm_limit"], row["models"]) == (
        max_budget, budget_duration, rate, rate, ["gpt-small"],
    )  # fmt: skip


async def test_the_reset_race_moves_the_reset_on_and_keeps_the_spend(served: Served) -> None:
    await served.post("/user/update", {"user_id": "u", "budget_duration": "1d", "spend": 5.0})
    served.now[0] += 86400
    served.sandbox.state.reset_job_at = served.now[0] + 1
    _, answer = await served.post("/user/update", {"user_id": "u", "budget_duration": "1d"})
    assert answer["data"]["budget_reset_at"] == "2026-11-24T00:00:00Z"
    served.sandbox.state.run_reset_job()
    assert served.sandbox.state.users["u"].spend == 5.0


async def test_the_reset_job_runs_by_itself_within_ten_minutes(served: Served) -> None:
    await served.post("/user/update", {"user_id": "u", "budget_duration": "1d", "spend": 5.0})
    served.now[0] += 86400
    await served.post("/budget/info", {"budgets": ["any"]})
    assert served.sandbox.state.users["u"].spend == 0


async def test_a_changed_budget_takes_effect_after_a_minute(served: Served) -> None:
    await served.post("/budget/new", {"budget_id": "b", "rpm_limit": 60})
    await served.post("/customer/new", {"user_id": "c", "budget_id": "b"})
    user = {"x-litellm-customer-id": "c"}
    assert await served.chat(**user) == 200
    await served.post("/budget/update", {"budget_id": "b", "rpm_limit": 0})
    assert await served.chat(**user) == 200
    served.now[0] += 60
    assert await served.chat(**user) == 429


async def test_max_budget_on_a_customer_rewrites_the_budget_of_all(served: Served) -> None:
    await served.post("/budget/new", {"budget_id": "b", "max_budget": 10})
    await served.post("/customer/new", {"user_id": "c", "budget_id": "b"})
    await served.post("/customer/update", {"user_id": "c", "max_budget": 2.5})
    assert served.sandbox.state.budgets["b"].max_budget == 2.5


async def test_a_header_mapped_to_internal_user_enforces_no_limit(serve: Any) -> None:
    served = await serve(header_role="internal_user")
    await served.post("/user/update", {"user_id": "u", "rpm_limit": 0, "models": ["gpt-small"]})
    assert await served.chat("gpt-big", **{"X-OpenWebUI-User-Id": "u"}) == 200
    assert served.sandbox.state.users["u"].spend == 0.001


async def test_tokens_count_too_and_the_minute_ends(served: Served) -> None:
    await served.post("/budget/new", {"budget_id": "b", "tpm_limit": 28})
    await served.post("/customer/new", {"user_id": "c", "budget_id": "b"})
    user = {"X-OpenWebUI-User-Id": "c"}
    assert [await served.chat(**user) for _ in range(2)] == [200, 429]
    served.now[0] += 60
    assert await served.chat(**user) == 200


async def test_t3_an_unknown_customer_falls_into_the_default_budget_from_its_first_call(serve: Any) -> None:
    served = await serve(default_budget_id="free")
    await served.post("/budget/new", {"budget_id": "free", "rpm_limit": 1})
    user = {"X-OpenWebUI-User-Id": "new"}
    assert [await served.chat(**user) for _ in range(2)] == [200, 429]


async def test_faults_can_be_ordered_and_cleared_from_outside(served: Served) -> None:
    status, waiting = await served.post(
        "/_sandbox/faults", {"kind": "status", "path": "/user", "status": 503, "times": 2}
    )
    assert (status, len(waiting)) == (200, 1)
    assert (await served.post("/user/update", {"user_id": "u"}))[0] == 503
    assert (await served.post("/budget/info", {"budgets": ["b"]}))[0] == 200
    async with served.session.delete(served.url + "/_sandbox/faults") as response:
        assert await response.json() == []
    assert (await served.post("/user/update", {"user_id": "u"}))[0] == 200


@pytest.mark.parametrize("order", [{"kind": "flood"}, {"kind": "status", "colour": "red"}, {}, []])
async def test_a_fault_that_does_not_exist_is_refused(served: Served, order: object) -> None:
    status, _ = await served.post("/_sandbox/faults", order)
    assert status == 400


async def test_a_lost_reply_is_lost_after_the_work(served: Served) -> None:
    served.sandbox.faults.add(Fault("lost", "/user/update"))
    with pytest.raises(aiohttp.ClientError):
        await served.post("/user/update", {"user_id": "u", "max_budget": 3})
    assert served.sandbox.state.users["u"].max_budget == 3


async def test_a_cut_connection_is_cut_before_the_work(served: Served) -> None:
    served.sandbox.faults.add(Fault("reset", "/user/update"))
    with pytest.raises(aiohttp.ClientError):
        await served.post("/user/update", {"user_id": "u", "max_budget": 3})
    assert served.sandbox.state.users == {}


async def test_the_log_of_requests_shows_bodies_and_no_keys(served: Served) -> None:
    await served.post("/user/update", {"user_id": "u", "max_budget": 3})
    async with served.session.get(served.url + "/_sandbox/requests") as response:
        entries = await response.json()
    assert [(entry["path"], entry["body"]["max_budget"], entry["status"]) for entry in entries] == [
        ("/user/update", 3, 200)
    ]
    assert KEY not in json.dumps(entries)


@pytest.mark.parametrize("key", ["sk-wrong", KEY + "x", ""])
async def test_only_a_known_key_is_served(served: Served, key: str) -> None:
    assert (await served.post("/user/update", {"user_id": "u"}, key))[0] == 401
    assert await served.chat(key=key) == 401

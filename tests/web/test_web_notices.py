"""Notices end to end: a grant over HTTP, the app's notice, the operator's list and replay."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from servers.running import Running, running_application, write_apps
from servers.webhook_receiver import SECRET, Receiver, receiver


@pytest.fixture
async def app() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


@pytest.fixture
async def running(tmp_path: Path, app: Receiver) -> AsyncIterator[Running]:
    """SKPayments with notices to skai's backend."""
    write_apps(tmp_path, lambda apps: apps["apps"][0].update(notify={"url": app.url, "secret": "env:HOOK"}))
    async with running_application(tmp_path, HOOK=SECRET) as application:
        yield application


async def _give(running: Running, user_id: str = "u1", tier: str = "pro") -> None:
    body = {"app_id": "skai", "user_id": user_id, "tier": tier, "reason": "a test"}
    assert (await running.admin("POST", "/admin/grants", body))[0] == 201


async def _listed(running: Running, query: str = "") -> list[dict[str, Any]]:
    status, answer = await running.admin("GET", f"/admin/notices{query}")
    assert status == 200, answer
    found: list[dict[str, Any]] = answer["notices"]
    return found


async def _until(running: Running, true: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while not true(found := await _listed(running)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)
    return found


async def _in_state(running: Running, *states: str) -> list[dict[str, Any]]:
    """The notices, newest first, when they are in these states."""
    return await _until(running, lambda found: [each["state"] for each in found] == list(states))


async def _until_tier(running: Running, user_id: str, tier: str) -> None:
    deadline = time.monotonic() + 10
    while (found := (await running.json("GET", f"/status/skai/{user_id}"))[1]["tier"]) != tier:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)


async def test_an_app_is_notified_at_once_and_the_operator_sees_it(running: Running, app: Receiver) -> None:
    await _give(running)
    [notice] = await _in_state(running, "done")
    assert app.received[0].verified(SECRET)["data"]["to"] == "pro"
    assert (notice["app_id"], notice["user_id"], notice["attempts"], notice["last_status"]) == ("skai", "u1", 1, 204)
    assert "body" not in notice
    for call in (running.json("GET", "/explain/skai/u1"), running.admin("GET", "/explain/skai/u1")):
        status, explained = await call
        assert status == 200
        [result] = explained["notices"]
        assert (result["change_id"], result["state"], result["attempts"]) == (app.ids[0], "done", 1)
        assert result["change_id"] == explained["changes"][0]["change_id"]


async def test_explain_shows_the_apps_answer(running: Running, app: Receiver) -> None:
    app.answer_next(500, "the queue is full", times=50)
    await _give(running)
    await _until(running, lambda found: bool(found) and found[0]["attempts"] >= 1)
    _, explained = await running.json("GET", "/explain/skai/u1")
    [result] = explained["notices"]
    assert (result["state"], result["last_status"], result["error"]) == (
        "waiting",
        500,
        "answered 500: the queue is full",
    )


async def test_notices_are_listed_by_app_and_state(running: Running, app: Receiver) -> None:
    await _give(running)
    await _in_state(running, "done")
    app.answer_next(410)
    await _give(running, "u2")
    await _in_state(running, "dead", "done")
    assert [each["user_id"] for each in await _listed(running, "?state=dead")] == ["u2"]
    assert len(await _listed(running, "?app=skai")) == 2
    assert await _listed(running, "?app=blog") == []
    status, answer = await running.admin("GET", "/admin/notices?state=lost")
    assert (status, answer["error"]) == (400, "invalid_input")


async def test_a_replay_is_sent_at_once_under_the_same_id(running: Running, app: Receiver) -> None:
    await _give(running)
    await _in_state(running, "done")
    status, answer = await running.admin("POST", "/admin/notices/replay", {"change_id": app.ids[0]})
    assert (status, answer) == (200, {"replayed": 1})
    await _until(running, lambda found: len(app.received) == 2 and found[0]["state"] == "done")
    assert app.ids[0] == app.ids[1]
    assert app.received[0].body == app.received[1].body


async def test_a_dead_notice_is_replayed_and_its_alert_resolved(running: Running, app: Receiver) -> None:
    app.answer_next(410, times=2)
    await _give(running)
    await _give(running, "u2")
    await _in_state(running, "dead", "dead")
    kinds = [(each["kind"], each["subject"]) for each in (await running.admin("GET", "/admin/alerts"))[1]["alerts"]]
    assert {("notice_dead", "skai/u1"), ("notice_dead", "skai/u2")} <= set(kinds)
    for app_id, replayed in (("blog", 0), ("skai", 2), (None, 0)):
        status, answer = await running.admin("POST", "/admin/notices/replay", {"dead": True, "app_id": app_id})
        assert (status, answer) == (200, {"replayed": replayed})
    await _in_state(running, "done", "done")
    _, answer = await running.admin("GET", "/admin/alerts")
    assert [each for each in answer["alerts"] if each["kind"].startswith("notice_")] == []


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, "replay_what"),
        ({"change_id": "x", "dead": True}, 400, "replay_what"),
        ({"change_id": "x", "app_id": "skai"}, 400, "replay_what"),
        ({"change_id": "nope"}, 404, "unknown_notice"),
        ({"change_id": ""}, 400, "invalid_input"),
        ({"dead": 1}, 400, "invalid_input"),
    ],
)
async def test_an_ambiguous_replay_is_refused(running: Running, body: object, status: int, error: str) -> None:
    got, answer = await running.admin("POST", "/admin/notices/replay", body)
    assert (got, answer["error"]) == (status, error)


@pytest.mark.parametrize(("method", "path"), [("GET", "/admin/notices"), ("POST", "/admin/notices/replay")])
async def test_only_the_operator_may(running: Running, method: str, path: str) -> None:
    assert (await running.json(method, path))[0] == 401


async def _skpay(running: Running, *arguments: str, alone: bool = False) -> tuple[int, str]:
    """The output of a command, with the running server or without one."""
    port = "1" if alone else str(running.application.web_port)
    environ = {**os.environ, **running.environ, "PORT": port, "COLUMNS": "300"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, env=environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_the_command_lists_and_replays(running: Running, app: Receiver) -> None:
    app.answer_next(410, "we moved")
    await _give(running)
    await _in_state(running, "dead")
    code, text = await _skpay(running, "notices", "list", "--app", "skai", "--state", "dead")
    assert code == 0
    assert app.ids[0] in text
    assert "answered 410: we moved" in text
    code, text = await _skpay(running, "notices", "replay", "--dead")
    assert (code, "1 notice(s) are resent" in text) == (0, True)
    await _in_state(running, "done")
    code, text = await _skpay(running, "users", "explain", "skai", "u1")
    assert (code, "notified of (UTC)" in text) == (0, True)
    code, text = await _skpay(running, "notices", "replay", "nope")
    assert (code, "There is no notice 'nope'." in text) == (2, True)


async def test_without_a_server_the_command_writes_itself(running: Running, app: Receiver) -> None:
    app.answer_next(410)
    await _give(running)
    await _in_state(running, "dead")
    await running.application.stop()
    code, text = await _skpay(running, "notices", "replay", app.ids[0], alone=True)
    assert (code, "1 notice(s) are resent" in text) == (0, True)
    code, text = await _skpay(running, "notices", "list", alone=True)
    assert (code, "waiting" in text) == (0, True)


async def test_an_edit_of_apps_json_starts_notices(tmp_path: Path, app: Receiver) -> None:
    async with running_application(tmp_path, HOOK=SECRET) as running:
        await _give(running)
        await _until_tier(running, "u1", "pro")
        write_apps(tmp_path, lambda apps: apps["apps"][0].update(notify={"url": app.url, "secret": "env:HOOK"}))
        assert (await running.admin("POST", "/admin/reload"))[0] == 200
        await _give(running, "u2")
        await _in_state(running, "done")
        assert [each.data["user_id"] for each in app.received] == ["u2"]

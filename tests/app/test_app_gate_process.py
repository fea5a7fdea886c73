"""A gate in a process of its own: it follows the main process through the store, and answers on without it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from access.access_samples import session
from servers.gate_alone import GateAlone
from servers.running import ADMIN_TOKEN, GATE_SECRET, Running, running_application, write_apps
from servers.traefik import free_port, until

from gateway.app.gate_processes import has_beaten
from gateway.errors import ConfigError

GRANT = {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "test"}
PAID = "/api/v1/images"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_application(tmp_path, PORT=str(free_port())) as running:
        yield running


@contextlib.asynccontextmanager
async def gate_beside(running: Running) -> AsyncIterator[GateAlone]:
    gate = GateAlone(running.folder, running.environ)
    await gate.start()
    try:
        await gate.until((200, "free"))
        yield gate
    finally:
        await gate.stop()


async def key_of(running: Running, user_id: str = "u1") -> dict[str, str]:
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": user_id})
    return {"Authorization": f"Bearer {made['key']}", "id": str(made["key_id"])}


async def test_it_follows_tiers_keys_and_deleted_users(running: Running) -> None:
    async with gate_beside(running) as gate:
        key = await key_of(running)
        bearer = {"Authorization": key["Authorization"]}
        await gate.until((402, "free"), PAID, **bearer)
        await running.admin("POST", "/admin/grants", GRANT)
        await gate.until((200, "pro"), PAID, **bearer)
        await running.admin("DELETE", "/admin/grants/skai/u1")
        await gate.until((402, "free"), PAID, **bearer)
        await running.admin("DELETE", f"/admin/keys/{key['id']}")
        await gate.until((401, None), PAID, **bearer)
        other = {"Authorization": (await key_of(running, "u2"))["Authorization"]}
        await running.admin("POST", "/admin/grants", {**GRANT, "user_id": "u2"})
        await gate.until((200, "pro"), PAID, **other)
        await running.admin("DELETE", "/admin/users/skai/u2")
        await gate.until((401, None), PAID, **other)


async def test_it_answers_on_while_the_main_process_is_dead(tmp_path: Path) -> None:
    async with running_application(tmp_path, PORT=str(free_port())) as running:
        gate = GateAlone(running.folder, running.environ)
        await gate.start()
        bearer = {"Authorization": (await key_of(running))["Authorization"]}
        await running.admin("POST", "/admin/grants", GRANT)
        await gate.until((200, "pro"), PAID, **bearer)
    try:
        for _ in range(20):
            assert await gate.ask(PAID, **bearer) == (200, "pro")
        assert await gate.ask(PAID) == (401, None)
        async with running_application(tmp_path, PORT=running.environ["PORT"]) as again:
            await again.admin("DELETE", "/admin/grants/skai/u1")
            await gate.until((402, "free"), PAID, **bearer)
    finally:
        await gate.stop()


async def test_it_waits_for_a_database_and_says_so(tmp_path: Path) -> None:
    async with running_application(tmp_path, PORT=str(free_port())) as running:
        environ = {**running.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'not-yet.db'}"}
        gate = GateAlone(running.folder, environ)
        await gate.start()
        try:
            await gate.until((503, None))
            await until(lambda: asyncio.sleep(0, "gate_waits_for_store" in gate.log), "it says so")
        finally:
            await gate.stop()


async def test_it_reads_apps_json_by_itself(running: Running) -> None:
    async with gate_beside(running) as gate:
        assert await gate.ask("/new") == (200, "free")

        def closed(apps: dict[str, Any]) -> None:
            apps["apps"][0]["routes"].append({"path": "/new", "min_tier": "pro"})

        write_apps(running.folder, closed)
        await gate.until((401, None), "/new")


async def test_a_first_seen_user_is_provisioned_before_the_first_request_passes(running: Running) -> None:
    async with gate_beside(running) as gate:
        bearer = {"Authorization": (await key_of(running, "first-1"))["Authorization"]}
        began = 0.0

        async def accepted() -> bool:  # the key arrives within milliseconds
            nonlocal began
            began = time.monotonic()
            return await gate.ask("/", **bearer) == (200, "free")

        await until(accepted, "the key arrives")
        # On a busy machine LiteLLM may not have answered within the 0.8 s that a request waits.
        assert "first-1" in running.litellm.state.customers or time.monotonic() - began >= 0.7
        await until(lambda: _provisioned(running, "first-1"), "the user is provisioned")


async def test_a_first_seen_user_passes_and_is_provisioned_later_while_the_main_process_is_dead(tmp_path: Path) -> None:
    async with running_application(tmp_path, PORT=str(free_port())) as running:
        gate = GateAlone(running.folder, running.environ)
        await gate.start()
        await gate.until((200, "free"))
        bearer = {"Authorization": (await key_of(running, "late-1"))["Authorization"]}
        await gate.until((401, None), "/", Authorization="Bearer skp_unknown")
    try:
        began = time.monotonic()
        await gate.until((200, "free"), "/", **bearer)
        assert time.monotonic() - began < 15
        async with running_application(tmp_path, PORT=running.environ["PORT"]) as again:
            await until(lambda: _provisioned(again, "late-1"), "the user is provisioned")
    finally:
        await gate.stop()


async def _provisioned(running: Running, user_id: str) -> bool:
    return user_id in running.litellm.state.customers


async def test_without_the_gate_secret_no_user_is_reported(running: Running) -> None:
    body = {"users": [{"app_id": "skai", "user_id": "u1"}]}
    for key in (None, "wrong", running.environ["ADMIN_TOKEN"], running.environ["SKAI_KEY"]):
        status, _ = await running.json("POST", "/gate/first-seen", key, json=body)
        assert status == 401
    status, _ = await running.json("POST", "/gate/first-seen", GATE_SECRET, json=body)
    assert status == 200


def _children(running: Running) -> list[int]:
    """The process ids of the gate processes of this test's main process, which is this process."""
    return _running_in(running.folder)


def _running_in(folder: Path) -> list[int]:
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            command = (each / "cmdline").read_bytes()
            environ = (each / "environ").read_bytes()
            if b"--heartbeat" in command and f"APPS_FILE={folder}/".encode() in environ:
                found.append(int(each.name))
    return found


async def test_gate_processes_share_the_port_and_are_replaced(tmp_path: Path) -> None:
    """T47: the kernel gives a frozen process its share of the connections as well."""
    async with running_application(tmp_path, PORT=str(free_port()), GATE_PROCESSES="2") as running:
        headers = {"Authorization": (await key_of(running))["Authorization"]}
        await running.admin("POST", "/admin/grants", GRANT)

        async def paid() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return (await running.gate(PAID, **headers))[0] == 200
            return False

        await until(paid, "the tier arrives")
        first = _children(running)
        assert len(first) == 2

        async def replaced(gone: int) -> bool:
            return len(_children(running)) == 2 and gone not in _children(running)

        os.kill(first[0], signal.SIGKILL)
        await until(lambda: replaced(first[0]), "a killed one is replaced")
        os.kill(first[1], signal.SIGSTOP)
        await until(lambda: replaced(first[1]), "a frozen one is replaced")
        await until(paid, "the tier is there")
        for _ in range(50):
            assert await paid()
        await running.admin("DELETE", "/admin/grants/skai/u1")

        async def refused() -> bool:
            return all([(await running.gate(PAID, **headers))[0] == 402 for _ in range(20)])

        await until(refused, "every process refuses")
    assert _children(running) == []


async def test_gates_are_not_silent_because_the_main_process_was_frozen() -> None:
    """A beat lies in the pipe, but when the main process runs again the deadline has passed as well."""
    reading, writing = os.pipe()
    beats = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(beats), os.fdopen(reading, "rb", buffering=0)
    )
    try:
        watching = asyncio.create_task(has_beaten(beats, 2.0))
        await asyncio.sleep(0)
        os.write(writing, b".")
        time.sleep(2.5)  # noqa: ASYNC251  # the whole process stands still
        assert await watching
        os.close(writing)
        assert not await has_beaten(beats, 2.0)
    finally:
        transport.close()


async def test_a_silent_pipe_is_noticed() -> None:
    with pytest.raises(TimeoutError):
        await has_beaten(asyncio.StreamReader(), 0.1)


async def test_a_gate_process_is_replaced_once_the_system_has_room_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Processes are killed for lack of memory: then a new one may not start at once either."""
    async with running_application(tmp_path, PORT=str(free_port()), GATE_PROCESSES="1") as running:
        [first] = _children(running)
        start, refusals = asyncio.create_subprocess_exec, [errno.EAGAIN, errno.ENOMEM]

        async def start_when_possible(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
            if refusals:
                raise OSError(refusals[0], os.strerror(refusals.pop(0)))
            return await start(*arguments, **options)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_when_possible)
        os.kill(first, signal.SIGKILL)

        async def replaced() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return (await running.gate())[0] == 200 and first not in _children(running)
            return False

        await until(replaced, "another one serves")
    assert [each.msg for each in caplog.records].count("gate_process_not_started") == 2


async def test_the_main_process_sums_the_metrics_and_watches_the_sessions_of_every_gate_process(tmp_path: Path) -> None:
    async with running_application(tmp_path, PORT=str(free_port()), GATE_PROCESSES="2") as running:

        async def metric(line: str) -> bool:
            async with running.call("GET", "/metrics", GATE_SECRET) as answer:
                assert answer.status == 200
                return line in (await answer.text()).splitlines()

        headers = {"Authorization": (await key_of(running))["Authorization"]}
        await until(lambda: _status(running, 200, headers), "the key arrives")
        for number in range(20):
            foreign = session(f"u{number}", secret="another-secret-of-32-bytes-at-least!")
            await running.gate(Cookie=f"token={foreign.decode()}")
        await until(
            lambda: metric('skpay_sessions_not_verified_total{app="skai",code="wrong_signature"} 20'), "the sum"
        )
        await until(lambda: metric("skpay_gate_failures_total 0"), "metrics of the listeners")

        async def alerted() -> bool:
            _, found = await running.admin("GET", "/admin/alerts")
            return any((row["kind"], row["subject"]) == ("sessions_not_verified", "skai") for row in found["alerts"])

        await until(alerted, "the alert is open")
        async with running.session.get(f"{running.gate_url}/metrics", headers={"X-SK-Gate": GATE_SECRET}) as answer:
            text = await answer.text()
        assert 'process="gate-1"' in text or 'process="gate-2"' in text
        assert (await running.json("GET", "/metrics", ADMIN_TOKEN))[0] == 401


async def _status(running: Running, status: int, headers: dict[str, str]) -> bool:
    return (await running.gate(**headers))[0] == status


async def test_a_gate_process_that_refuses_its_configuration_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an apps.json that only it cannot read; it would be started again and again, unseen."""
    monkeypatch.setattr("gateway.app.gate_processes._NOT_FOR_GATES", {"PUBLIC_URL"})
    with pytest.raises(ConfigError, match="a gate process refused its configuration"):
        async with running_application(tmp_path, GATE_PROCESSES="2"):
            pass
    assert not _running_in(tmp_path)


async def test_a_gate_port_in_use_is_a_wrong_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"GATE_PORT: port .* is already in use"):
            async with running_application(tmp_path, GATE_PORT=port, GATE_PROCESSES="1"):
                pass


async def test_two_services_do_not_share_a_gate_port(tmp_path: Path) -> None:
    """Such as staging with a copy of the environment: each would answer half of the other's users."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with running_application(folders[0], PORT=str(free_port()), GATE_PROCESSES="1") as running:
        port = str(running.application.gate_port)
        with pytest.raises(ConfigError, match=r"GATE_PORT: port .* is already in use"):
            async with running_application(folders[1], GATE_PORT=port, GATE_PROCESSES="1"):
                pass
        assert (await running.gate())[0] == 200
    async with running_application(folders[1], PORT=str(free_port()), GATE_PORT=port, GATE_PROCESSES="1") as running:
        assert (await running.gate())[0] == 200

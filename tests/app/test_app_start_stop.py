"""Starting and stopping: every problem at once, one instance, a clean end within ten seconds."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from servers.running import (
    SECRETS,
    Served,
    Vendors,
    environ_of,
    event,
    running_application,
    serving,
    stripe_signature,
    vendors,
    write_apps,
)
from servers.traefik import free_port, until

from gateway.app.application import Application
from gateway.app.gate_table import GateTable
from gateway.errors import ConfigError
from gateway.settings import read_settings

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def around() -> AsyncIterator[Vendors]:
    async with vendors() as both:
        yield both


def environ(folder: Path, around: Vendors | None = None, **more: str) -> dict[str, str]:
    stripe_url, litellm_url = (around.stripe_url, around.litellm_url) if around else (NOBODY, NOBODY)
    ports = {"PORT": str(free_port()), "GATE_PORT": str(free_port())}
    return environ_of(folder, stripe_url=stripe_url, litellm_url=litellm_url, **{**ports, **more})


async def refused(folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a start that is refused."""
    served = Served(folder, env)
    await served.start()
    try:
        return await served.ended(), served.log
    finally:
        await served.stop()


async def test_all_missing_variables_are_reported_at_once_by_name(tmp_path: Path) -> None:
    write_apps(tmp_path)
    code, reported = await refused(tmp_path, {"PORT": "0", "GATE_PORT": "0", "ADMIN_TOKEN": "changeme"})
    assert code == 2
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "GATE_SECRET", "ADMIN_TOKEN", "PUBLIC_URL"):
        assert f"error: {name}: " in reported
    assert "changeme" not in reported
    assert "Traceback" not in reported


async def test_a_bad_apps_json_is_refused_with_every_problem_of_it_and_of_its_secrets(tmp_path: Path) -> None:
    def break_it(apps: dict[str, object]) -> None:
        skai, blog = apps["apps"]  # type: ignore[misc]  # a list of two
        skai["tiers"][1]["limits"]["rpm_limit"] = "60"
        blog["hosts"] = ["chat.example.com"]
        blog["api_key"] = "sk_live_inline_1a2b3c"

    write_apps(tmp_path, break_it)
    code, reported = await refused(tmp_path, environ(tmp_path))
    assert code == 2
    for part in ("apps[0].tiers[1].limits.rpm_limit", "apps[1].api_key", "apps[1].hosts[0]"):
        assert part in reported
    assert "sk_live_inline" not in reported


async def test_all_missing_secrets_of_the_catalog_are_reported_at_once(tmp_path: Path) -> None:
    write_apps(tmp_path)
    env = {**environ(tmp_path), "BLOG_KEY": "changeme"}
    del env["SKAI_KEY"], env["SESSION_SECRET"]
    with pytest.raises(ConfigError) as raised:
        Application(read_settings(env), env)
    assert [problem.split(": ")[1] for problem in raised.value.problems] == [
        "apps[0].api_key", "apps[0].identity[0].secret", "apps[1].api_key",
    ]  # fmt: skip
    assert "changeme" not in raised.value.message


async def test_a_missing_apps_json_is_reported_with_the_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"apps\.json: cannot be read: No such file.*APPS_FILE"):
        Application(read_settings(environ(tmp_path)), {})


async def test_a_second_instance_on_the_same_database_is_refused(tmp_path: Path) -> None:
    async with running_application(tmp_path) as running:
        ports = {"PORT": str(free_port()), "GATE_PORT": str(free_port())}
        code, reported = await refused(tmp_path, {**running.environ, **ports})
        assert code == 2
        assert "DATABASE_URL: another instance (process " in reported
        assert (await running.json("GET", "/ready", None))[0] == 200


@pytest.mark.parametrize("name", ["PORT", "GATE_PORT"])
async def test_a_port_in_use_is_reported_by_the_name_of_its_setting(tmp_path: Path, name: str) -> None:
    write_apps(tmp_path)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        taken = str(server.sockets[0].getsockname()[1])
        env = environ(tmp_path, **{name: taken})
        application = Application(read_settings(env), env)
        with pytest.raises(ConfigError, match=rf"^{name}: port {taken} is already in use") as raised:
            await application.start()
        assert len(raised.value.problems) == 1
    async with running_application(tmp_path):
        pass  # what was begun was given back: the lock and the other port are free


async def test_sigterm_answers_what_is_under_way_and_ends_with_0_within_ten_seconds(
    tmp_path: Path, around: Vendors
) -> None:
    """With a LiteLLM that hangs, a half-sent body and a half-sent call to the gate, all at once."""
    write_apps(tmp_path)
    around.litellm.faults.add(_slow())
    async with serving(tmp_path, environ(tmp_path, around)) as served, aiohttp.ClientSession() as session:
        _, half_body = await asyncio.open_connection("127.0.0.1", served.port)
        body = event("evt_half")
        half_body.write(
            f"POST /webhook/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: {stripe_signature(body)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{{".encode()
        )
        _, half_call = await asyncio.open_connection("127.0.0.1", served.gate_port)
        half_call.write(b"GET /gate?app=skai HTTP/1.1\r\nHost: x\r\n")
        headers = {"Authorization": f"Bearer {served.environ['ADMIN_TOKEN']}"}
        grant = {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "test"}
        url = f"http://127.0.0.1:{served.port}/admin/grants"
        async with session.post(url, json=grant, headers=headers) as answer:
            assert answer.status == 201
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended(15) == 0
        assert time.monotonic() - started < 10
        half_body.close()
        half_call.close()
        events = [json.loads(line)["event"] for line in served.log.splitlines()]
        assert "stopping" in events
        assert events[-1] == "stopped"
        assert not [line for line in served.log.splitlines() if json.loads(line)["level"] in ("ERROR", "CRITICAL")]


def _slow() -> object:
    from gateway.sandbox.litellm.faults import Fault

    return Fault("slow", seconds=30, times=99)


async def test_what_was_acknowledged_before_kill_9_is_there_after_it(tmp_path: Path, around: Vendors) -> None:
    write_apps(tmp_path)
    env = environ(tmp_path, around)
    served = Served(tmp_path, env)
    await served.start()
    acknowledged = []
    try:
        await served.until_up()
        async with aiohttp.ClientSession() as session:
            for number in range(40):
                body = event(f"evt_{number:03}")
                headers = {"Stripe-Signature": stripe_signature(body)}
                url = f"http://127.0.0.1:{served.port}/webhook/stripe"
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 200
                acknowledged.append(f"evt_{number:03}")
    finally:
        await served.stop()
    assert await served.ended() == -signal.SIGKILL
    async with serving(tmp_path, env) as repeated, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {env['ADMIN_TOKEN']}"}
        async with session.get(f"http://127.0.0.1:{repeated.port}/admin/events", headers=headers) as answer:
            events = (await answer.json())["events"]
        assert {each["event_id"] for each in events} >= set(acknowledged)


async def test_nothing_that_is_written_holds_a_secret(tmp_path: Path, around: Vendors) -> None:
    write_apps(tmp_path)
    async with serving(tmp_path, environ(tmp_path, around)) as served, aiohttp.ClientSession() as session:
        for path in ("/ready", f"/nothing?key={SECRETS[0]}", "/status/skai/u1"):
            headers = {"Authorization": f"Bearer {SECRETS[5]}"}
            async with session.get(f"http://127.0.0.1:{served.port}{path}", headers=headers) as answer:
                await answer.read()
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
        lines = served.log.splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines)
        assert not [secret for secret in SECRETS if secret in served.log]


async def test_dead_vendors_stop_neither_the_start_nor_the_gate(tmp_path: Path) -> None:
    write_apps(tmp_path)
    async with running_application(tmp_path) as running:
        await running.admin(
            "POST", "/admin/grants", {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "test"}
        )
        _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})

        async def granted() -> bool:
            return (await running.json("GET", "/status/skai/u1"))[1]["tier"] == "pro"

        await until(granted, "granted")
    env = environ(tmp_path, PORT="0", GATE_PORT="0")
    application = Application(read_settings(env), env)
    await application.start()
    try:
        async with aiohttp.ClientSession() as session:
            headers = {
                "X-SK-Gate": env["GATE_SECRET"], "X-Forwarded-Host": "chat.example.com",
                "X-Forwarded-Uri": "/api/v1/images", "X-Forwarded-Method": "GET",
                "Authorization": f"Bearer {made['key']}",
            }  # fmt: skip
            url = f"http://127.0.0.1:{application.gate_port}/gate?app=skai"
            async with session.get(url, headers=headers) as answer:
                assert (answer.status, answer.headers["X-SK-Tier"]) == (200, "pro")
            async with session.get(f"http://127.0.0.1:{application.web_port}/health") as answer:
                assert answer.status == 200

            async def reported() -> bool:
                return "prices" in application.problems()

            await until(reported, "/ready says that Stripe did not answer")
    finally:
        await application.stop()


async def test_the_gate_answers_503_until_everything_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observed: list[tuple[int, str | None]] = []
    load = GateTable.load

    async def looked_at(*args: Any) -> None:
        port = running_ports[0]()
        async with aiohttp.ClientSession() as session:
            headers = {"X-SK-Gate": env["GATE_SECRET"], "X-Forwarded-Host": "chat.example.com",
                       "X-Forwarded-Uri": "/", "X-Forwarded-Method": "GET"}  # fmt: skip
            async with session.get(f"http://127.0.0.1:{port}/gate?app=skai", headers=headers) as answer:
                observed.append((answer.status, answer.headers.get("Retry-After")))
        await load(*args)

    running_ports = []
    monkeypatch.setattr(GateTable, "load", looked_at)
    write_apps(tmp_path)
    env = environ(tmp_path, PORT="0", GATE_PORT="0")
    application = Application(read_settings(env), env)
    running_ports.append(lambda: application.gate_port)
    await application.start()
    await application.stop()
    ((status, retry_after),) = observed
    assert status == 503
    assert retry_after


async def test_stop_is_idempotent(tmp_path: Path) -> None:
    async with running_application(tmp_path) as running:
        await running.application.stop()
        await running.application.stop()

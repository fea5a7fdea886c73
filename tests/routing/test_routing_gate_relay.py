"""A frozen gate behind the real Traefik: with `gate_relay` no request waits longer than two seconds, and none
passes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import yaml
from hostile.echo_backend import echo_backend
from hostile.raw_client import Reply, ask, request
from routing_apps import PUBLIC_URL, apps_json
from servers.running import GATE_SECRET, PUBLIC_HOST, running_application, write_apps
from servers.traefik import Traefik, free_port, until

from gateway.catalog import parse
from gateway.routing import docker_labels, plan, traefik_file
from gateway.routing.formats import files_of
from gateway.routing.model import RELAY_ADDRESS, RELAY_URL

FROZEN_GATE = """
import asyncio, sys
async def answer(reader, writer):
    while await reader.readuntil(b"\\r\\n\\r\\n"):
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nX-SK-Tier: free\\r\\n\\r\\n")
async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""
WAIT_SECONDS, TRAEFIKS_OWN_SECONDS = 4.0, 30.0


@asynccontextmanager
async def relayed(folder: Path, gate_url: str, upstream: str) -> AsyncIterator[tuple[Traefik, int]]:
    """Traefik with what is generated for `gate_relay`, on a free port instead of the relay's own."""
    port, relay = free_port(), free_port()
    routing = {"gate_url": [gate_url], "gate_relay": True, "public_service_url": upstream}
    tree = json.loads(apps_json([("skai", ["sk.test"])]))
    tree["apps"][0] |= {"upstream": upstream, "anonymous": "tag"}
    tree["routing"] = routing
    routes = plan(parse(json.dumps(tree).encode()), PUBLIC_URL)
    static = files_of(routes, "static")
    entry_points = yaml.safe_load(static["traefik.yml"])["entryPoints"]
    dynamic = folder / "dynamic"
    dynamic.mkdir()
    (dynamic / "entry-point.yml").write_text(static["dynamic/entry-point.yml"])
    text = traefik_file(routes)
    assert RELAY_URL in text
    (dynamic / "skpayments.yml").write_text(text.replace(RELAY_ADDRESS, f"127.0.0.1:{relay}"))
    own = {
        "web": {**entry_points["web"], "address": f"127.0.0.1:{port}"},
        "sk-gate": {**entry_points["sk-gate"], "address": f"127.0.0.1:{relay}"},
    }
    async with Traefik({"entryPoints": own}, dynamic_dir=dynamic, env={"GATE_SECRET": GATE_SECRET}) as traefik:
        await traefik.until_routers("sk-app-skai@file", "sk-gate-relay@file")
        await traefik.until_served(PUBLIC_HOST, f"http://127.0.0.1:{port}")
        assert await traefik.errors() == 0
        yield traefik, port


async def timed(port: int) -> tuple[int, float]:
    started = time.monotonic()
    reply = await ask(port, request("/"))
    return reply.status, time.monotonic() - started


@pytest.mark.needs_traefik
async def test_a_frozen_gate_refuses_every_request_after_seconds_and_then_at_once(tmp_path: Path) -> None:
    gate_port = free_port()
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(echo_backend())
        gate = await asyncio.create_subprocess_exec(sys.executable, "-c", FROZEN_GATE, str(gate_port))
        stack.push_async_callback(gate.wait)
        stack.callback(gate.kill)
        _, port = await stack.enter_async_context(relayed(tmp_path, f"http://127.0.0.1:{gate_port}", backend.url))

        async def passes() -> bool:
            return (await timed(port))[0] == 200

        await until(passes, "the gate answers through the relay")
        observed = len(backend.got)
        gate.send_signal(signal.SIGSTOP)
        first = await asyncio.gather(*(timed(port) for _ in range(8)))
        later = [await timed(port) for _ in range(4)]
        assert {status for status, _ in (*first, *later)} <= {503, 504}
        assert max(seconds for _, seconds in first) < WAIT_SECONDS < TRAEFIKS_OWN_SECONDS
        assert min(seconds for _, seconds in later) < 0.5
        assert len(backend.got) == observed
        gate.send_signal(signal.SIGCONT)
        await until(passes, "it answers again")


@pytest.mark.needs_traefik
async def test_the_real_gate_decides_through_the_relay_about_the_visitors_own_request(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(echo_backend())

        def change(tree: dict[str, object]) -> None:
            app = tree["apps"][0]  # type: ignore[index]
            app |= {"hosts": ["sk.test"], "routes": [{"path": "/pro", "min_tier": "pro"}]}

        write_apps(tmp_path, change)
        running = await stack.enter_async_context(running_application(tmp_path))
        _, port = await stack.enter_async_context(relayed(tmp_path, running.gate_url, backend.url))
        lies = [("X-Forwarded-Uri", "/"), ("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Method", "OPTIONS")]

        async def reply(target: str) -> Reply:
            return await ask(port, request(target, lies))

        async def asks() -> bool:
            return (await reply("/")).status == 200

        await until(asks, "the gate answers through the relay")
        assert (await reply("/pro")).status == 401
        free = await reply("/")
        assert free.got is not None
        assert free.got.tags["x-sk-tier"] == "free"


def test_labels_ask_through_the_relay_too_and_without_it_nothing_is_there() -> None:
    tree = json.loads(apps_json([("skai", ["sk.test"])]))
    plain = plan(parse(json.dumps(tree).encode()), PUBLIC_URL)
    assert "sk-gate-relay" not in "".join(files_of(plain, "static").values())
    tree.setdefault("routing", {})["gate_relay"] = True
    routes = plan(parse(json.dumps(tree).encode()), PUBLIC_URL)
    address = docker_labels(routes, "skai")["traefik.http.middlewares.sk-gate-skai.forwardAuth.address"]
    assert address == f"{RELAY_URL}/gate?app=skai"

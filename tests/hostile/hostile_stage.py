"""The whole product behind the real Traefik, and beside it the naive configuration, in one Traefik process.

Two entry points each: `untrusted`, where any client may connect, and `trusted`, whose peer Traefik trusts, as it must
believe a Cloudflare Tunnel, which passes the visitor's own headers on.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from access.access_samples import session
from aiohttp import web
from hostile.echo_backend import EchoBackend, echo_backend
from hostile.naive import NaiveAuth, naive_document
from hostile.raw_client import Reply, ask, request
from servers.running import (
    GATE_SECRET,
    PUBLIC_HOST,
    PUBLIC_URL,
    SESSION_SECRET,
    Running,
    running_application,
    served,
    write_apps,
)
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik, free_port, until

from gateway.catalog import parse
from gateway.catalog.model import GateKind
from gateway.gate.handler import REQUESTS
from gateway.routing import plan, traefik_file

Entry = Literal["untrusted", "trusted"]
ENTRIES: tuple[Entry, ...] = ("untrusted", "trusted")
# The kinds of gate between Traefik and the app, besides the naive one.
GATES: tuple[GateKind, ...] = ("forward_auth", "plugin")

ON_OURS = [(gate, entry) for gate in GATES for entry in ENTRIES]

FREE, PRO, MAX = "bob", "alice", "mike"
YEAR = 365 * 86_400
# The tags that the app must get, and no other header that may be read as one.
TAGS = {
    "anonymous": {"x-sk-app": "skai", "x-sk-tier": "free", "x-sk-features": ""},
    "bob": {"x-sk-app": "skai", "x-sk-user": "bob", "x-sk-tier": "free", "x-sk-features": ""},
    "alice": {"x-sk-app": "skai", "x-sk-user": "alice", "x-sk-tier": "pro", "x-sk-features": "images"},
    "mike": {"x-sk-app": "skai", "x-sk-user": "mike", "x-sk-tier": "max", "x-sk-features": "images,video"},
}


def apps(upstream: str) -> list[dict[str, Any]]:
    """Three apps: one with every kind of rule, one without, and one with the users of an SSO."""
    urls = {"success": "https://sk.test/", "cancel": "https://sk.test/"}
    skai = {
        "id": "skai", "name": "SKAI", "hosts": ["sk.test"], "upstream": upstream, "urls": urls, "anonymous": "tag",
        "identity": [{"kind": "openwebui", "secret": "env:SESSION_SECRET"}, {"kind": "user_key"}],
        "tiers": [
            {"id": "free", "name": "Free"},
            {"id": "pro", "name": "Pro", "features": ["images"], "prices": [{"lookup_key": "skai_pro_month"}]},
            {"id": "max", "name": "Max", "features": ["images", "video"], "internal": True},
        ],
        "routes": [
            {"path": "/pro", "min_tier": "pro"}, {"path": "/pro/logo", "public": True},
            {"path": "/video", "features": ["video"]}, {"path": "/static", "public": True},
            {"path": "/upload", "min_tier": "pro", "methods": ["POST", "PUT"]},
        ],
    }  # fmt: skip
    blog = {
        "id": "blog", "name": "Blog", "hosts": ["blog.test"], "upstream": upstream, "urls": urls, "anonymous": "tag",
        "identity": [{"kind": "user_key"}],
        "tiers": [{"id": "reader", "name": "Reader"}, {"id": "patron", "name": "Patron", "internal": True}],
    }  # fmt: skip
    wiki = {
        "id": "wiki", "name": "Wiki", "hosts": ["wiki.test"], "upstream": upstream, "urls": urls, "anonymous": "tag",
        "identity": [{"kind": "header", "name": "X-Remote-User", "after": "sso@file"}],
        "tiers": [{"id": "reader", "name": "Reader"}],
    }  # fmt: skip
    return [skai, blog, wiki]


@dataclass
class HostileStage:
    """`ports`: (gate kind or "naive", entry) → port. `keys`: user → their user key for skai, and `erin at blog`."""

    running: Running
    backend: EchoBackend
    naive: NaiveAuth
    naive_url: str
    ports: dict[tuple[str, Entry], int]
    traefik: Traefik
    keys: dict[str, str]

    async def ask(self, gate: str, entry: Entry, raw: bytes) -> Reply:
        """One request through Traefik."""
        return await ask(self.ports[gate, entry], raw)

    def requests(self) -> float:
        """The number of requests that the gate has decided."""
        counted = self.running.application.parts.registry.render()
        return sum(float(line.rpartition(" ")[2]) for line in counted.splitlines() if line.startswith(REQUESTS[0]))


def token(user_id: str, lives_seconds: int = YEAR, secret: str = SESSION_SECRET) -> str:
    """A session of Open WebUI by the real clock."""
    return session(user_id, int(time.time()) + lives_seconds, secret).decode()


def cookie(user_id: str) -> tuple[str, str]:
    return "Cookie", f"token={token(user_id)}"


@asynccontextmanager
async def hostile_stage(folder: Path) -> AsyncIterator[HostileStage]:
    """Everything running, alice on pro and mike on max; at the end the backend must have read every request."""
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(echo_backend())
        write_apps(folder, lambda tree: tree.update(apps=apps(backend.url)))
        running = await stack.enter_async_context(running_application(folder))
        naive = NaiveAuth(SESSION_SECRET, {"sk.test": {PRO: "pro", MAX: "max"}, "blog.test": {FREE: "patron"}})
        server = web.Application()
        server.router.add_route("*", "/{tail:.*}", naive.answer)
        naive_url = await stack.enter_async_context(served(server))
        ports = {(kind, entry): free_port() for kind in ("naive", *GATES) for entry in ENTRIES}
        dynamic = folder / "dynamic"
        dynamic.mkdir()
        naive_tree = naive_document(naive_url, backend.url, [_name("naive", entry) for entry in ENTRIES])
        (dynamic / "naive.yml").write_text(yaml.safe_dump(naive_tree))
        sso = {"headers": {"customRequestHeaders": {"X-Remote-User": "carol"}}}
        (dynamic / "sso.yml").write_text(yaml.safe_dump({"http": {"middlewares": {"sso": sso, "plugin-sso": sso}}}))
        for gate in GATES:
            (dynamic / f"{gate}.yml").write_text(_ours(gate, backend.url, running))
        entry_points = {_name(kind, entry): _entry_point(entry, port) for (kind, entry), port in ports.items()}
        static = {"entryPoints": entry_points, **WITH_PLUGIN}
        traefik = await stack.enter_async_context(
            Traefik(static, dynamic_dir=dynamic, env={"GATE_SECRET": GATE_SECRET}, plugins_dir=PLUGINS_DIR)
        )
        await traefik.until_routers("naive-app@file", "sk-app-blog@file", "plugin-sk-app-blog@file")
        for kind in GATES:
            for entry in ENTRIES:
                await traefik.until_served(PUBLIC_HOST, f"http://127.0.0.1:{ports[kind, entry]}")
        assert await traefik.errors() == 0
        stage = HostileStage(running, backend, naive, naive_url, ports, traefik, {})
        await _people(stage)
        yield stage
        assert backend.problems == []


def _name(kind: str, entry: Entry) -> str:
    return f"{kind.replace('_', '-')}-{entry}"


def _entry_point(entry: Entry, port: int) -> dict[str, Any]:
    """Traefik's defaults, without the hardening of our static snippet: the gate must be safe without it."""
    trusted = {"forwardedHeaders": {"trustedIPs": ["127.0.0.1/32"]}} if entry == "trusted" else {}
    return {"address": f"127.0.0.1:{port}", **trusted}


def _ours(gate: GateKind, upstream: str, running: Running) -> str:
    """The output of `skpay routes write --gate …` for this gate's entry points."""
    routing = {
        "gate_url": [running.gate_url],
        "public_service_url": running.url,
        "entry_points": [_name(gate, entry) for entry in ENTRIES],
    }
    catalog = parse(json.dumps({"apps": apps(upstream), "routing": routing}).encode())
    text = traefik_file(plan(catalog, PUBLIC_URL, gate))
    return text if gate == "forward_auth" else yaml.safe_dump(_renamed(yaml.safe_load(text)["http"]))


def _renamed(http: dict[str, Any]) -> dict[str, Any]:
    """The same under other names: one file provider has both."""
    for router in http["routers"].values():
        router["service"] = f"plugin-{router['service']}"
        router["middlewares"] = [f"plugin-{name}" for name in router["middlewares"]]
    return {"http": {kind: {f"plugin-{name}": each for name, each in all_.items()} for kind, all_ in http.items()}}


async def _people(stage: HostileStage) -> None:
    for user, tier in ((PRO, "pro"), (MAX, "max")):
        grant = {"app_id": "skai", "user_id": user, "tier": tier, "reason": "a person of the tests"}
        status, _ = await stage.running.admin("POST", "/admin/grants", grant)
        assert status == 201
    for app_id, user, name in (("skai", FREE, FREE), ("skai", PRO, PRO), ("blog", "erin", "erin at blog")):
        status, made = await stage.running.admin("POST", "/admin/keys", {"app_id": app_id, "user_id": user})
        assert status == 201
        stage.keys[name] = made["key"]

    async def known() -> bool:
        answers = [await stage.running.gate(host="sk.test", Cookie=cookie(user)[1]) for user in (PRO, MAX)]
        return [headers.get("X-SK-Tier") for _, headers, _ in answers] == ["pro", "max"]

    await until(known, "the gate knows everybody's tier")

    async def kept() -> bool:
        before = stage.requests()
        for _ in range(2):
            await stage.ask("plugin", "untrusted", request("/", [cookie(PRO)]))
        return stage.requests() == before

    await until(kept, "the plugin keeps answers")

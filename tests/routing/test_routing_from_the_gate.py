"""Traefik reads its routes from the real gate's port: tiers use their routers, edits take effect, and nothing ever
opens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from routing_stage import serve
from servers.running import GATE_SECRET, Running, running_application, write_apps
from servers.traefik import Traefik, until

pytestmark = pytest.mark.needs_traefik

CHAT, BLOG = "chat.example.com", "blog.example.com"


@dataclass
class Installation:
    running: Running
    traefik: Traefik
    keys: dict[str, str]

    async def ask(self, host: str, user: str = "", path: str = "/") -> tuple[int, str]:
        headers = {"Host": host, **({"Authorization": f"Bearer {self.keys[user]}"} if user else {})}
        async with self.running.session.get(self.traefik.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def traefiks_document(self, secret: str = GATE_SECRET) -> tuple[int, Any]:
        url, headers = f"{self.running.gate_url}/traefik", {"Authorization": f"Bearer {secret}"}
        async with self.running.session.get(url, headers=headers) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def installation(folder: Path, traefiks_secret: str = GATE_SECRET) -> AsyncIterator[Installation]:
    """alice is on pro, which has an upstream of its own; bob on free, which has two requests a minute."""
    async with AsyncExitStack() as stack:

        def app(name: str) -> Any:
            async def answer(request: web.Request) -> web.Response:
                return web.Response(text=f"{name} {request.headers.get('X-SK-Tier')}")

            return answer

        slow, fast = [await serve(stack, app(name)) for name in ("slow", "fast")]

        def children(tree: dict[str, Any]) -> None:
            skai, blog = tree["apps"]
            skai["upstream"], blog["upstream"] = {"default": slow, "pro": fast}, slow
            skai["tiers"][0]["traffic"] = {"rate": {"average": 1, "period": "1m", "burst": 2}}
            tree["routing"] = {"provider": "http", **gate_urls}

        gate_urls: dict[str, list[str]] = {}
        write_apps(folder, children)
        running = await stack.enter_async_context(running_application(folder))
        # The gate's port is known only now, and stands in every route.
        gate_urls["gate_url"] = [running.gate_url]
        write_apps(folder, children)
        await running.application.reload()
        provider = {
            "endpoint": f"{running.gate_url}/traefik",
            "headers": {"X-SK-Gate": traefiks_secret},
            "pollInterval": "200ms",
        }
        traefik = await stack.enter_async_context(Traefik({"providers": {"http": provider}}))
        place = Installation(running, traefik, {})
        await running.admin(
            "POST", "/admin/grants", {"app_id": "skai", "user_id": "alice", "tier": "pro", "reason": "t"}
        )
        for user in ("alice", "bob"):
            status, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": user})
            assert status == 201
            place.keys[user] = made["key"]
        yield place


async def test_tiers_take_their_routers_and_edits_are_live_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    async with installation(tmp_path) as place:
        await place.traefik.until_routers("sk-app-skai@http", "sk-tier-skai_pro@http")
        assert await place.traefik.errors() == 0

        async def known() -> bool:
            return await place.ask(CHAT, "alice") == (200, "fast pro")

        await until(known, "alice is on pro")
        assert [await place.ask(CHAT, "alice") for _ in range(4)] == [(200, "fast pro")] * 4
        assert [await place.ask(CHAT, "bob") for _ in range(3)] == [
            (200, "slow free"), (200, "slow free"), (429, "Too Many Requests"),
        ]  # fmt: skip
        assert (await place.ask(CHAT, "bob", "/api/v1/images"))[0] == 402
        assert (await place.ask(BLOG))[0] == 200
        await an_edit_is_live(place)
        await a_bad_edit_changes_nothing(place)


async def an_edit_is_live(place: Installation) -> None:
    tree = json.loads((place.running.folder / "apps.json").read_text(encoding="utf-8"))
    tree["apps"][1]["hosts"] = ["news.example.com"]
    (place.running.folder / "apps.json").write_text(json.dumps(tree), encoding="utf-8")

    async def live() -> bool:
        return (await place.ask("news.example.com"))[0] == 200

    await until(live, "the new host")
    assert (await place.ask(BLOG))[0] == 404


async def a_bad_edit_changes_nothing(place: Installation) -> None:
    before = await place.traefiks_document()
    good = (place.running.folder / "apps.json").read_text(encoding="utf-8")
    (place.running.folder / "apps.json").write_text(good.replace("news.example.com", "pay.example.com`"))

    async def reported() -> bool:
        return "catalog" in place.running.application.problems()

    await until(reported, "the bad edit is reported")
    assert await place.traefiks_document() == before
    assert before[0] == 200
    assert (await place.ask("news.example.com"))[0] == 200


async def test_without_the_secret_traefik_learns_nothing(tmp_path: Path) -> None:
    async with installation(tmp_path, traefiks_secret="not the secret") as place:
        assert (await place.traefiks_document("not the secret"))[0] == 403
        status, document = await place.traefiks_document()
        assert (status, len(document["http"]["routers"])) == (200, 9)

        async def refused() -> bool:
            return "403" in place.traefik.log()

        await until(refused, "Traefik is refused")
        assert await place.traefik.routers() == {}
        assert (await place.ask(CHAT))[0] == 404

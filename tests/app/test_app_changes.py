"""The changes that the gate announces, read from the stream of a complete SKPayments."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from servers.running import GATE_SECRET, Running, running_application, write_apps
from sqlalchemy import event

from gateway.store.engine.sqlite import SQLite

GRANT = {"app_id": "skai", "user_id": "u1", "tier": "sovereign", "reason": "staff"}


class Lines:
    """The stream's lines as an HTTP client reads them."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def next(self) -> dict[str, Any]:
        """The next one that is no heartbeat."""
        while True:
            line: dict[str, Any] = json.loads(await asyncio.wait_for(self._content.readline(), 5))
            if len(line) > 2:
                return line

    async def nothing_before(self, running: Running) -> None:
        """No change was announced: the next line is the marker's."""
        running.application.parts.gate.changes.user_changed("blog", "marker")
        line = await self.next()
        assert (line.get("app"), line.get("user")) == ("blog", "marker"), line


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_application(tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def stream(running: Running) -> AsyncIterator[tuple[Lines, dict[str, Any]]]:
    url = f"{running.gate_url}/gate/changes"
    async with running.session.get(url, headers={"X-SK-Gate": GATE_SECRET}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/jsonl")
        lines = Lines(answer.content)
        yield lines, await lines.next()


def second_route(apps: dict[str, Any]) -> None:
    apps["apps"][0]["routes"].append({"path": "/new", "min_tier": "pro"})


async def test_a_tier_change_is_announced(running: Running) -> None:
    async with stream(running) as (lines, first):
        await running.admin("POST", "/admin/grants", GRANT)
        line = await lines.next()
        assert (line["app"], line["user"]) == ("skai", "u1")
        assert line["n"] > first["n"]


async def test_the_gate_knows_within_20_ms_of_the_commit(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured from the last commit before; the best median of three, as another process may have the cores."""
    application, committed, delays = running.application, [0.0], list[float]()
    backend = application.parts.store._backend
    assert isinstance(backend, SQLite)
    event.listen(backend._writer, "commit", lambda conn: committed.append(time.monotonic()))
    publish = application.parts.tiers.publish

    def published(*args: Any) -> None:
        publish(*args)
        delays.append(time.monotonic() - committed[-1])

    monkeypatch.setattr(application.parts.tiers, "publish", published)
    medians = []
    async with stream(running) as (lines, _):
        for attempt in range(3):
            delays.clear()
            for number in range(15):
                user_id = f"u{attempt}-{number}"
                await running.admin("POST", "/admin/grants", {**GRANT, "user_id": user_id})
                assert (await lines.next())["user"] == user_id
            medians.append(sorted(delays)[len(delays) // 2])
    assert min(medians) < 0.02


async def test_an_answer_is_kept_no_longer_than_the_tier_lasts(tmp_path: Path) -> None:
    until_at = int(time.time()) + 1000
    for _ in range(2):  # the second time from the database
        async with running_application(tmp_path) as running, stream(running) as (lines, _):
            if running.application.parts.tiers.table.count("skai") == 0:
                await running.admin("POST", "/admin/grants", {**GRANT, "until_at": until_at})
                await lines.next()
            _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
            _, headers, _ = await running.gate(Authorization=f"Bearer {made['key']}", X_SK_Plugin="1")
            assert headers["X-SK-Keep"].split(" ")[6] == str(until_at)


async def test_creating_or_revoking_a_key_is_announced_for_its_user(running: Running) -> None:
    async with stream(running) as (lines, _):
        _, made = await running.admin("POST", "/admin/keys", {"app_id": "blog", "user_id": "u1"})
        line = await lines.next()
        assert (line["app"], line["user"]) == ("blog", "u1")
        _, headers, _ = await running.gate(
            app="blog", host="blog.example.com", Authorization=f"Bearer {made['key']}", X_SK_Plugin="1"
        )
        _, number, *_ = headers["X-SK-Keep"].split(" ")
        assert int(number) == line["n"]
        await running.admin("DELETE", f"/admin/keys/{made['key_id']}")
        line = await lines.next()
        assert (line["app"], line["user"], line["n"]) == ("blog", "u1", int(number) + 1)
        await running.admin(
            "POST", "/admin/keys", {"app_id": "blog"}
        )  # an app's own key identifies no user at the gate
        line = await lines.next()
        assert (line["app"], line["user"], line["n"]) == ("blog", "", int(number) + 2)
        await lines.nothing_before(running)


async def test_a_key_of_an_issuers_that_has_gone_forgets_all_and_changes_no_rules(running: Running) -> None:
    async with stream(running) as (lines, first):
        running.application.parts.invalidation.keys_removed("https://id.example.com/jwks")
        line = await lines.next()
        rules = {"rules": first["rules"], "version": first["version"]}
        assert line == {"n": first["n"], "own": first["own"] + 1, "all": True, **rules}
        assert len(running.application.parts.gate.request_cache) == 0


async def test_a_deleted_user_is_announced(running: Running) -> None:
    async with stream(running) as (lines, _):
        await running.admin("POST", "/admin/grants", GRANT)
        await lines.next()
        await running.admin("DELETE", "/admin/grants/skai/u1")
        before = await lines.next()
        assert (await running.admin("DELETE", "/admin/users/skai/u1"))[0] == 200
        line = await lines.next()
        assert (line["user"], line["n"]) == ("u1", before["n"] + 1)


async def test_a_reload_forgets_all_and_has_the_version_of_its_apps_json_and_secrets(running: Running) -> None:
    """Twice: with the new rules, and once the tiers of its apps are loaded. In between no other gate agrees."""
    unchanged, secret = (running.folder / "apps.json").read_text(), running.environ["SESSION_SECRET"]
    async with stream(running) as (lines, first):

        async def reload() -> dict[str, Any]:
            await running.admin("POST", "/admin/reload")
            loading, loaded = await lines.next(), await lines.next()
            assert loading["all"] is loaded["all"] is True
            assert loading["rules"] == loaded["rules"]
            assert loading["version"] not in (first["version"], loaded["version"])
            return loaded

        write_apps(running.folder, second_route)
        changed = await reload()
        assert changed["version"] != first["version"]
        assert "/new/" in [rule["path"] for rule in changed["rules"]["skai"]["routes"]]
        running.environ["SESSION_SECRET"] = "another-session-secret-of-32-bytes"
        rolled = await reload()
        assert rolled["rules"] == changed["rules"]
        assert rolled["version"] not in (first["version"], changed["version"])
        (running.folder / "apps.json").write_text(unchanged)
        running.environ["SESSION_SECRET"] = secret
        assert (await reload())["version"] == first["version"]


async def test_a_refused_edit_changes_nothing(running: Running) -> None:
    async with stream(running) as (lines, _):
        (running.folder / "apps.json").write_text("{", encoding="utf-8")
        assert (await running.admin("POST", "/admin/reload"))[0] == 409
        await lines.nothing_before(running)

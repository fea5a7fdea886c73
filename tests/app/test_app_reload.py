"""Editing apps.json while it runs: good edits are live within two seconds, bad ones change nothing and are reported."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from servers.running import ADMIN_TOKEN, Running, environ_of, running_application, serving, vendors, write_apps
from servers.traefik import free_port, until
from sqlalchemy import Connection

from gateway.app import gate_catalog
from gateway.app import reload as module
from gateway.app.background import Background
from gateway.errors import StoreUnavailable
from gateway.store import entitlements, keys
from gateway.tiers.model import Entitlement, Reason

GRANT = {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "test"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_application(tmp_path) as application:
        yield application


def third_app(apps: dict[str, Any]) -> None:
    apps["apps"].append(
        {
            "id": "wiki", "name": "Wiki", "hosts": ["wiki.example.com"], "upstream": "http://127.0.0.1:9",
            "urls": {"success": "https://wiki.example.com/", "cancel": "https://wiki.example.com/"}, "anonymous": "tag",
            "identity": [{"kind": "user_key"}], "tiers": [{"id": "all", "name": "All"}],
        }
    )  # fmt: skip


def without_pro(apps: dict[str, Any]) -> None:
    skai = apps["apps"][0]
    skai["tiers"] = [tier for tier in skai["tiers"] if tier["id"] != "pro"]
    skai["routes"] = []


async def at_the_gate(running: Running, app: str, host: str) -> int:
    status: int = (await running.gate("/", app, host))[0]
    return status


async def granted(running: Running) -> None:
    await running.admin("POST", "/admin/grants", GRANT)

    async def observed() -> bool:
        return (await running.json("GET", "/status/skai/u1"))[1]["tier"] == "pro"

    await until(observed, "u1 is pro")


async def test_t7_an_edit_by_rename_is_live_within_two_seconds(running: Running) -> None:
    assert await at_the_gate(running, "wiki", "wiki.example.com") == 404
    write_apps(running.folder, third_app)

    async def live() -> bool:
        return await at_the_gate(running, "wiki", "wiki.example.com") == 200

    await until(live, "the new app's host is served")
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "wiki"})
    assert (await running.json("GET", "/status/wiki/u1", made["key"]))[1]["tier"] == "all"


async def test_an_edit_in_place_is_detected_too(running: Running) -> None:
    text = (running.folder / "apps.json").read_text(encoding="utf-8")
    (running.folder / "apps.json").write_text(text.replace('"SKAI"', '"Sky"'), encoding="utf-8")

    async def live() -> bool:
        return (await running.json("GET", "/buy/skai/offer", running.link("u1")))[1]["app"]["name"] == "Sky"

    await until(live, "the new name is shown")


async def test_a_bad_edit_keeps_the_old_catalog_and_is_reported_until_a_good_one(running: Running) -> None:
    (running.folder / "apps.json").write_text('{"apps": [{"id": "x", "tiers": 7}], "surprise": 1}', encoding="utf-8")

    async def reported() -> bool:
        return (await running.json("GET", "/ready", None))[0] == 503

    await until(reported, "not ready")
    assert (await running.json("GET", "/ready", None))[1] == {"ready": False, "problems": None}
    problems = (await running.json("GET", "/ready", ADMIN_TOKEN))[1]["problems"]
    assert "apps.json: surprise: unknown key" in problems["catalog"]
    assert "apps[0].tiers" in problems["catalog"]

    async def alerted() -> bool:
        alerts = (await running.admin("GET", "/admin/alerts"))[1]["alerts"]
        return [each["kind"] for each in alerts] == ["catalog_refused"]

    await until(alerted, "alerted")
    assert (await running.json("GET", "/status/skai/u1"))[0] == 200
    assert await at_the_gate(running, "skai", "chat.example.com") == 200

    write_apps(running.folder, third_app)

    async def healed() -> bool:
        return (await running.json("GET", "/ready", None))[0] == 200

    await until(healed, "ready again")
    assert (await running.admin("GET", "/admin/alerts"))[1]["alerts"] == []


async def test_a_file_that_is_gone_for_a_moment_is_waited_for(running: Running) -> None:
    (running.folder / "apps.json").unlink()

    async def status(expected: int) -> bool:
        return (await running.json("GET", "/ready", None))[0] == expected

    await until(lambda: status(503), "/ready answers 503")
    assert await at_the_gate(running, "skai", "chat.example.com") == 200
    write_apps(running.folder)
    await until(lambda: status(200), "healed")


async def test_a_tier_in_use_cannot_be_removed_by_an_edit(running: Running) -> None:
    await granted(running)
    write_apps(running.folder, without_pro)
    status, answer = await running.admin("POST", "/admin/reload")
    assert status == 409
    (problem,) = answer["problems"]
    assert "the tier 'pro' was removed" in problem
    assert '"was": ["pro"]' in problem
    assert (await running.json("GET", "/status/skai/u1"))[1]["tier"] == "pro"


async def test_was_gives_the_tier_a_new_name(running: Running) -> None:
    await granted(running)
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})

    def rename(apps: dict[str, Any]) -> None:
        without_pro(apps)
        apps["apps"][0]["tiers"].insert(1, {"id": "plus", "name": "Plus", "was": ["pro"], "limits": {"max_budget": 10}})

    write_apps(running.folder, rename)
    assert await running.admin("POST", "/admin/reload") == (200, {"apps": ["skai", "blog"]})
    assert (await running.json("GET", "/status/skai/u1"))[1]["tier"] == "plus"
    _, headers, _ = await running.gate(Authorization=f"Bearer {made['key']}")
    assert headers["X-SK-Tier"] == "plus"


async def test_no_request_is_refused_while_a_tier_is_renamed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload is slow, the gate is called all the time, and a refresh brings the new name meanwhile."""
    await granted(running)
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await running.gate("/api/v1/images", Authorization=f"Bearer {made['key']}"))[0])

    application, store = running.application, running.application.parts.store
    read, load = store.read, application.parts.tiers.load

    async def slow_read(query: Any) -> Any:
        await ask()
        return await read(query)

    async def slow_load(*args: Any) -> None:
        application.parts.tiers.publish("skai", "u1", "plus", None)
        await ask()
        await load(*args)

    monkeypatch.setattr(store, "read", slow_read)
    monkeypatch.setattr(application.parts.tiers, "load", slow_load)

    def rename(apps: dict[str, Any]) -> None:
        without_pro(apps)
        apps["apps"][0]["tiers"].insert(1, {"id": "plus", "name": "Plus", "was": ["pro"], "limits": {}})
        apps["apps"][0]["routes"] = [{"path": "/api/v1/images", "min_tier": "plus"}]

    write_apps(running.folder, rename)
    await application.reload()
    assert len(statuses) > 4
    assert set(statuses) == {200}


async def test_an_unused_tier_can_be_removed(running: Running) -> None:
    write_apps(running.folder, without_pro)
    assert (await running.admin("POST", "/admin/reload"))[0] == 200


async def test_an_app_with_paying_users_cannot_be_removed(running: Running) -> None:
    await granted(running)
    write_apps(running.folder, lambda apps: apps["apps"].pop(0))
    status, answer = await running.admin("POST", "/admin/reload")
    assert status == 409
    assert "the app was removed" in answer["message"]


async def test_reloads_at_the_same_time_end_with_the_newest_file(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reload is delayed by the store; it must not install its old text over the newer one."""
    original = gate_catalog.refuse_removed_tiers
    stored = asyncio.Event()
    first = True

    async def slow_once(*statuses: Any) -> None:
        nonlocal first
        if first:
            first = False
            await asyncio.wait_for(stored.wait(), 5)
        await original(*statuses)

    monkeypatch.setattr(gate_catalog, "refuse_removed_tiers", slow_once)
    reloading = asyncio.create_task(running.application.reload())
    await asyncio.sleep(0)
    write_apps(running.folder, third_app)
    newer = asyncio.create_task(running.application.reload())
    await asyncio.sleep(0.05)
    stored.set()
    await asyncio.gather(reloading, newer)
    assert await at_the_gate(running, "wiki", "wiki.example.com") == 200


async def test_a_tier_that_changes_during_a_reload_is_not_undone_by_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reload has read the old tier from the database when the change comes."""
    await granted(running)
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
    _, other = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u2"})
    loop, original = asyncio.get_running_loop(), entitlements.page

    def read_then_change(conn: Connection, app_id: str, after: str, limit: int) -> Any:
        rows = original(conn, app_id, after, limit)
        for user_id in ("u1", "u2"):  # one in the snapshot, one not
            publish = running.application.parts.tiers.publish
            loop.call_soon_threadsafe(publish, "skai", user_id, "enterprise", None)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(5)
        return rows

    monkeypatch.setattr(entitlements, "page", read_then_change)
    await running.application.reload()
    for key in (made["key"], other["key"]):
        _, headers, _ = await running.gate(Authorization=f"Bearer {key}")
        assert headers["X-SK-Tier"] == "enterprise"


async def test_users_of_a_new_app_stay_although_an_earlier_load_of_everything_ends_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that fell behind is loading everything for the old catalog when apps.json gets one more app."""
    parts, gate = running.application.parts, running.application.catalog_reload.gate
    tier = Entitlement(tier="editor", reason=Reason.ACTIVE, source="subscription")
    parts.store.write_now(lambda conn: entitlements.save(conn, "wiki", "w1", tier, 100))
    read, began, goes_on, first = parts.store.read, asyncio.Event(), asyncio.Event(), [True]

    async def slow_once(query: Any) -> Any:
        found = await read(query)
        if isinstance(query, partial) and query.func is entitlements.page and first and first.pop():
            began.set()
            await goes_on.wait()
        return found

    monkeypatch.setattr(parts.store, "read", slow_once)
    earlier = asyncio.create_task(gate.load_all())
    await asyncio.wait_for(began.wait(), 20)

    def with_wiki(apps: dict[str, Any]) -> None:
        third_app(apps)
        apps["apps"][-1]["tiers"].append({"id": "editor", "name": "Editor"})

    write_apps(running.folder, with_wiki)
    reloading = asyncio.create_task(running.application.reload())
    await asyncio.wait({reloading}, timeout=2.0)  # it may end before the earlier load, or wait for it
    if not reloading.done():
        assert "wiki" not in gate.loaded.apps  # a snapshot written now must not claim its users
    goes_on.set()
    await asyncio.wait_for(asyncio.gather(earlier, reloading), 20)
    assert parts.tiers.table.tier_of("wiki", "w1", "all") == "editor"
    assert "wiki" in gate.loaded.apps


async def test_a_key_revoked_while_keys_are_loaded_stays_revoked(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first load has read the keys before the key is revoked, and is slow to install them."""
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai"})
    store, read, slow = running.application.parts.store, running.application.parts.store.read, [True]

    async def slow_once(query: Any) -> Any:
        found = await read(query)
        if query is keys.live and slow.pop() if slow else False:
            await asyncio.sleep(0.2)
        return found

    monkeypatch.setattr(store, "read", slow_once)
    looking = asyncio.create_task(running.application.catalog_reload.gate.load_keys())
    await asyncio.sleep(0.05)
    assert (await running.admin("DELETE", f"/admin/keys/{made['key_id']}"))[0] == 200
    await looking
    assert (await running.json("GET", "/status/skai/u1", made["key"]))[0] == 401


async def test_a_reload_is_retried_after_the_store_failed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    write_apps(running.folder, third_app)

    async def fails(*_: object) -> None:
        raise StoreUnavailable("as ordered")

    with monkeypatch.context() as patched:
        patched.setattr(module, "load_known_prices", fails)
        assert (await running.admin("POST", "/admin/reload"))[0] == 503

    async def live() -> bool:
        return await at_the_gate(running, "wiki", "wiki.example.com") == 200

    await until(live, "the edit is live after all")


async def test_a_failed_task_is_logged_and_restarted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.app.background.RETRY_SECONDS", 0.01)
    background, runs = Background(), []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise RuntimeError("a bug")
        if len(runs) == 2:
            raise StoreUnavailable("passing", detail="disk")

    async def done() -> bool:
        return len(runs) == 3

    background.start("work", work)
    await until(done, "run three times")
    await background.stop()
    await background.stop()
    reported = [(each.levelname, each.message) for each in caplog.records if each.name == "gateway.app.background"]
    assert reported == [("ERROR", "background_work_failed"), ("WARNING", "background_work_deferred")]


async def test_sighup_reloads_and_a_bad_file_does_not_end_the_server(tmp_path: Path) -> None:
    write_apps(tmp_path)
    async with vendors() as around:
        env = environ_of(
            tmp_path, stripe_url=around.stripe_url, litellm_url=around.litellm_url, PORT=str(free_port()),
            GATE_PORT=str(free_port()),
        )  # fmt: skip
        async with serving(tmp_path, env) as served:

            async def logged(*expected: str) -> bool:
                return set(expected) <= {json.loads(line)["event"] for line in served.log.splitlines()}

            await until(lambda: logged("started"), "started")
            served.process.send_signal(signal.SIGHUP)
            await until(lambda: logged("catalog_reloaded"), "reloaded without any edit")
            (tmp_path / "apps.json").write_text("{", encoding="utf-8")
            served.process.send_signal(signal.SIGHUP)
            await until(lambda: logged("catalog_refused"), "refused")
            assert served.process.returncode is None

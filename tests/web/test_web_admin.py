"""The admin API: only for ADMIN_TOKEN; its changes apply at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from servers.running import ADMIN_TOKEN, GATE_SECRET, SKAI_KEY, Running, running_application
from servers.traefik import until

from gateway.web.routes import API

OPERATORS = [(route.method, route.path) for route in API if route.caller == "operator"]
GRANT = {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "a gift"}


def test_every_admin_route_is_the_operators() -> None:
    assert {path for _, path in OPERATORS} == {route.path for route in API if route.path.startswith("/admin")}
    assert len(OPERATORS) >= 10


@pytest.mark.parametrize(("method", "path"), OPERATORS)
async def test_an_admin_route_refuses_every_other_caller(running: Running, method: str, path: str) -> None:
    path = re.sub(r"{\w+}", "1", path)
    for key in (None, "", "wrong", SKAI_KEY, GATE_SECRET, ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "\xff\xfe"):
        status, answer = await running.json(method, path, key, json={})
        assert (status, answer["error"]) == (401, "invalid_admin_token"), key
    for headers in ({"Origin": "https://pay.example.com"}, {"Sec-Fetch-Site": "same-origin"}):
        assert (await running.json(method, path, ADMIN_TOKEN, json={}, headers=headers))[0] == 403


async def test_both_tokens_work_while_one_is_rolled(tmp_path: Path) -> None:
    async with running_application(
        tmp_path, ADMIN_TOKEN=f"new-token-1a2b3c4d5e6f7a8b9c0d1e2f,{ADMIN_TOKEN}"
    ) as running:
        for token, status in (("new-token-1a2b3c4d5e6f7a8b9c0d1e2f", 200), (ADMIN_TOKEN, 200), ("new-token", 401)):
            assert (await running.json("GET", "/admin/alerts", token))[0] == status


async def tier(running: Running, user_id: str = "u1") -> Any:
    return (await running.json("GET", f"/status/skai/{user_id}"))[1]["tier"]


async def test_a_grant_raises_a_user_and_its_end_lowers_them(running: Running) -> None:
    status, answer = await running.admin("POST", "/admin/grants", GRANT)
    assert (status, list(answer)) == (201, ["grant_id"])

    async def is_tier(expected: str) -> bool:
        return await tier(running) == expected

    await until(lambda: is_tier("pro"), "granted")
    assert await running.admin("DELETE", "/admin/grants/skai/u1") == (200, {"ended": 1})
    await until(lambda: is_tier("free"), "taken back")
    status, answer = await running.admin("DELETE", "/admin/grants/skai/u1")
    assert (status, answer["error"]) == (404, "no_grant")


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"app_id": "nope"}, 404, "unknown_app"), ({"tier": "gold"}, 404, "unknown_tier"),
        ({"user_id": "a\nb"}, 400, "invalid_input"), ({"reason": ""}, 400, "invalid_input"),
        ({"reason": "   "}, 400, "reason_required"), ({"reason": "a\0b"}, 400, "invalid_input"),
        ({"until_at": 1}, 400, "until_in_the_past"), ({"until_at": 10**30}, 400, "invalid_input"),
        ({"until_at": "tomorrow"}, 400, "invalid_input"), ({"until_at": -1}, 400, "invalid_input"),
        ({"forever": True}, 400, "invalid_input"),
    ],
)  # fmt: skip
async def test_an_invalid_grant_is_refused(
    running: Running, change: dict[str, object], status: int, error: str
) -> None:
    answered, answer = await running.admin("POST", "/admin/grants", {**GRANT, **change})
    assert (answered, answer["error"]) == (status, error)


async def test_a_key_is_shown_once_and_listed_without_its_hash(running: Running) -> None:
    status, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1", "name": "laptop"})
    assert status == 201
    assert made["key"].startswith("skp_")
    _, listed = await running.admin("GET", "/admin/keys")
    (shown,) = listed["keys"]
    assert shown == {key: value for key, value in made.items() if key != "key"}
    assert "key_hash" not in shown


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"app_id": "nope"}, 404, "unknown_app"), ({}, 400, "invalid_input"),
        ({"app_id": "skai", "user_id": ""}, 400, "invalid_input"),
        ({"app_id": "skai", "name": "\0"}, 400, "invalid_input"),
        ({"app_id": "skai", "name": "x" * 101}, 400, "invalid_input"),
    ],
)  # fmt: skip
async def test_an_invalid_key_request_is_refused(running: Running, body: object, status: int, error: str) -> None:
    answered, answer = await running.admin("POST", "/admin/keys", body)
    assert (answered, answer["error"]) == (status, error)


async def test_an_app_has_two_keys_at_most(running: Running) -> None:
    for _ in range(2):
        assert (await running.admin("POST", "/admin/keys", {"app_id": "skai"}))[0] == 201
    status, answer = await running.admin("POST", "/admin/keys", {"app_id": "skai"})
    assert (status, answer["error"]) == (409, "too_many_keys")


@pytest.mark.parametrize(("key_id", "status"), [("7", 404), ("x", 400), ("-1", 400), ("%D9%A1", 400), ("9" * 16, 400)])
async def test_revoking_an_unknown_key_is_refused(running: Running, key_id: str, status: int) -> None:
    assert (await running.admin("DELETE", f"/admin/keys/{key_id}"))[0] == status


async def test_a_users_key_opens_the_gate_until_it_is_revoked(running: Running) -> None:
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
    _, headers, _ = await running.gate(Authorization=f"Bearer {made['key']}")
    assert (headers.get("X-SK-User"), headers["X-SK-Tier"]) == ("u1", "free")
    await running.admin("DELETE", f"/admin/keys/{made['key_id']}")
    status, headers, _ = await running.gate("/api/v1/images", Authorization=f"Bearer {made['key']}")
    assert status == 401
    assert "X-SK-User" not in headers


async def test_events_are_listed_without_their_bodies(running: Running) -> None:
    from servers.running import event

    await running.webhook(event("evt_1", note="private"))
    _, answer = await running.admin("GET", "/admin/events")
    assert [(each["event_id"], each["type"]) for each in answer["events"]] == [("evt_1", "product.updated")]
    assert "private" not in str(answer)


async def test_a_refresh_is_accepted_for_known_users_only(running: Running) -> None:
    status, result = await running.admin("POST", "/admin/refresh", {"app_id": "skai", "user_id": "u1"})
    assert (status, result["error"], result["message"]) == (404, "unknown_user", "skai has no user 'u1'.")
    assert (await running.admin("GET", "/admin/users"))[1]["users"] == []
    await running.admin("POST", "/admin/grants", {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "x"})
    assert (await running.admin("POST", "/admin/refresh", {"app_id": "skai", "user_id": "u1"}))[0] == 202
    assert (await running.admin("POST", "/admin/refresh", {"app_id": "nope", "user_id": "u1"}))[0] == 404
    assert (await running.admin("POST", "/admin/provisioning/retry"))[0] == 200


async def test_a_reload_reports_every_problem_of_a_bad_file(running: Running) -> None:
    (running.folder / "apps.json").write_text('{"apps": [{"id": "UPPER"}]}', encoding="utf-8")
    status, answer = await running.admin("POST", "/admin/reload")
    assert (status, answer["error"]) == (409, "config_error")
    assert len(answer["problems"]) > 3
    _, alerts = await running.admin("GET", "/admin/alerts")
    assert [alert["kind"] for alert in alerts["alerts"]] == ["catalog_refused"]
    assert (await running.json("GET", "/status/skai/u1"))[0] == 200

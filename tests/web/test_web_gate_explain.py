"""`/admin/gate/explain`: the gate's answer, and whether its table and the store agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from app.identity_servers import OpenWebUIServer
from servers.running import GATE_SECRET, Running, running_application, served, write_apps
from servers.traefik import until

from gateway.errors import StoreUnavailable
from gateway.store import Store

ADAS_KEY = "sk-0123456789abcdef0123456789abcdef"


async def key_of(running: Running, user_id: str) -> str:
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "blog", "user_id": user_id})
    return str(made["key"])


def question(key: str, **more: Any) -> dict[str, Any]:
    headers = [{"name": "Authorization", "value": f"Bearer {key}"}]
    return {"app_id": "blog", "url": "https://blog.example.com/", "headers": headers, **more}


async def test_it_answers_as_the_gate_does_and_shows_no_secret(running: Running) -> None:
    key = await key_of(running, "u1")
    status, result = await running.admin("POST", "/admin/gate/explain", question(key))
    answered, headers, _ = await running.gate(app="blog", host="blog.example.com", Authorization=f"Bearer {key}")
    assert (status, result["answer"]["status"], answered) == (200, 200, 200)
    tags = [[name, value] for name, value in headers.items() if name.startswith("X-SK-")]
    assert [pair for pair in result["answer"]["headers"] if pair[0].startswith("X-SK-")] == tags
    assert result["identity"] == {"from": "authorization", "user_id": "u1", "until": None, "code": None, "reason": None}
    assert key not in str(result)
    assert GATE_SECRET not in str(result)


async def test_it_shows_since_when_why_and_a_difference_of_table_and_store(running: Running) -> None:
    key = await key_of(running, "u1")
    grant = {"app_id": "blog", "user_id": "u1", "tier": "patron", "reason": "a gift"}
    await running.admin("POST", "/admin/grants", grant)

    async def tier() -> Any:
        return (await running.admin("POST", "/admin/gate/explain", question(key)))[1]["tier"]

    async def granted() -> bool:
        return bool((await tier())["in_table"] == "patron")

    await until(granted, "the gate heard of the grant")
    result = await tier()
    assert (result["used"], result["in_store"]["tier"], result["in_store"]["source"]) == ("patron", "patron", "grant")
    assert abs(result["in_store"]["changed_at"] - running.application._clock()) < 60
    running.application.parts.tiers.publish("blog", "u1", "reader", None)
    result = await tier()
    assert (result["in_table"], result["used"], result["in_store"]["tier"]) == ("reader", "reader", "patron")


async def test_while_the_store_is_unavailable_it_shows_the_gates_view(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await key_of(running, "u1")

    async def gone(self: Store, query: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Store, "read", gone)
    status, result = await running.admin("POST", "/admin/gate/explain", question(key))
    assert (status, result["answer"]["status"]) == (200, 200)
    assert result["tier"] == {
        "in_table": None, "used": "reader", "changes_at": None, "in_store": None, "store_failed": True,
    }  # fmt: skip


async def test_it_looks_credentials_up_as_the_gate_does(tmp_path: Path) -> None:
    there = OpenWebUIServer()
    there.signs_in(ADAS_KEY.encode(), "ada")
    async with served(there.application()) as url:
        write_apps(tmp_path, lambda apps: apps["apps"][0]["identity"][0].update(introspect=url))
        async with running_application(tmp_path) as running:

            async def result(key: str) -> tuple[Any, ...]:
                body = {"app_id": "skai", "url": "https://chat.example.com/"}
                headers = [{"name": "X-API-Key", "value": key}]
                _, found = await running.admin("POST", "/admin/gate/explain", {**body, "headers": headers})
                identity = found["identity"]
                gate = await running.gate(X_API_Key=key)
                assert found["answer"]["status"] == gate[0]
                return gate[0], found["outcome"], identity["from"], identity["user_id"], identity["code"]

            assert await result(ADAS_KEY) == (200, "allowed", "x-api-key", "ada", None)
            assert await result(ADAS_KEY[:-1] + "0") == (401, "sign_in_required", "x-api-key", None, "unknown_key")
            there.fault = 500
            assert await result(ADAS_KEY[:-1] + "1") == (
                503,
                "identity_unavailable",
                "x-api-key",
                None,
                "identity_unavailable",
            )


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"app_id": "nope"}, 404, "unknown_app"),
        ({"url": "/api"}, 400, "invalid_input"),
        ({"url": "https://chat.example.com/\u00e9"}, 400, "invalid_input"),
        ({"headers": [{"name": "A b", "value": "x"}]}, 400, "invalid_input"),
        ({"headers": [{"name": "Cookie", "value": "a\r\nX-Sk-Gate: x"}]}, 400, "invalid_input"),
        ({"method": ""}, 400, "invalid_input"),
        ({"odd": 1}, 400, "invalid_input"),
    ],
)
async def test_an_invalid_question_is_refused(
    running: Running, change: dict[str, Any], status: int, error: str
) -> None:
    answered, result = await running.admin("POST", "/admin/gate/explain", question("skp_x") | change)
    assert (answered, result["error"]) == (status, error)

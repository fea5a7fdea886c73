"""App keys: only valid ones of the app itself, from a server and never from a web page (T13)."""

from __future__ import annotations

from pathlib import Path

import pytest
from multidict import CIMultiDict
from servers.running import ADMIN_TOKEN, BLOG_KEY, GATE_SECRET, SKAI_KEY, Running, running_application

BODY = {"user_id": "u1", "tier": "pro"}
APP_ROUTES = [
    ("POST", "/checkout/skai", BODY),
    ("POST", "/portal/skai", {"user_id": "u1"}),
    ("GET", "/status/skai/u1", None),
    ("GET", "/explain/skai/u1", None),
]


@pytest.mark.parametrize(("method", "path", "body"), APP_ROUTES)
async def test_every_app_route_refuses_a_caller_without_a_key_of_the_app(
    running: Running, method: str, path: str, body: object
) -> None:
    for key in (None, "", "wrong", BLOG_KEY, GATE_SECRET, SKAI_KEY[:-1], f"{SKAI_KEY} x", "\xff" * 20, "k" * 5000):
        async with running.call(method, path, key, json=body) as answer:
            assert answer.status == 401, key
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            result = await answer.text()
        assert SKAI_KEY not in result
    if "explain" not in path:
        assert (await running.json(method, path, ADMIN_TOKEN, json=body))[0] == 401


async def test_an_unknown_app_is_refused_in_the_same_words_as_a_wrong_key(running: Running) -> None:
    """Without a key a caller cannot find out which apps exist."""
    known = await running.json("GET", "/status/skai/u1", "wrong")
    assert await running.json("GET", "/status/no-such-app/u1", "wrong") == known
    assert known[0] == 401
    assert (await running.json("GET", "/status/no-such-app/u1", SKAI_KEY)) == known


@pytest.mark.parametrize(("method", "path", "body"), APP_ROUTES)
async def test_t13_a_key_in_a_browser_does_not_work(running: Running, method: str, path: str, body: object) -> None:
    for name, value in (
        ("Origin", "https://chat.example.com"), ("Origin", "null"), ("Sec-Fetch-Site", "same-origin"),
        ("sec-fetch-site", "none"),
    ):  # fmt: skip
        status, answer = await running.json(method, path, json=body, headers={name: value})
        assert (status, answer["error"]) == (403, "browser_refused")


async def test_two_authorization_headers_are_refused_even_if_one_is_right(running: Running) -> None:
    headers = CIMultiDict([("Authorization", f"Bearer {SKAI_KEY}"), ("Authorization", "Bearer other")])
    async with running.session.get(f"{running.url}/status/skai/u1", headers=headers) as answer:
        assert answer.status == 401


async def test_the_scheme_is_bearer_in_any_case_and_nothing_else(running: Running) -> None:
    for value, status in (
        (f"bearer {SKAI_KEY}", 200), (f"BEARER {SKAI_KEY}", 200), (f"Basic {SKAI_KEY}", 401), (SKAI_KEY, 401),
    ):  # fmt: skip
        assert (await running.json("GET", "/status/skai/u1", None, headers={"Authorization": value}))[0] == status


async def test_both_keys_work_while_one_is_rolled(tmp_path: Path) -> None:
    async with running_application(tmp_path, SKAI_KEY=f"new-key-1f2e3d4c5b, {SKAI_KEY}") as running:
        for key, status in (("new-key-1f2e3d4c5b", 200), (SKAI_KEY, 200), (f"new-key-1f2e3d4c5b, {SKAI_KEY}", 401)):
            assert (await running.json("GET", "/status/skai/u1", key))[0] == status


async def test_a_made_key_works_until_it_is_revoked_and_for_its_app_only(running: Running) -> None:
    status, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "name": "backend"})
    assert status == 201
    assert (await running.json("GET", "/status/skai/u1", made["key"]))[0] == 200
    assert (await running.json("GET", "/status/blog/u1", made["key"]))[0] == 401
    assert (await running.admin("DELETE", f"/admin/keys/{made['key_id']}"))[0] == 200
    assert (await running.json("GET", "/status/skai/u1", made["key"]))[0] == 401


async def test_a_users_key_is_no_key_of_the_app(running: Running) -> None:
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
    assert (await running.json("GET", "/status/skai/u1", made["key"]))[0] == 401

"""Every route of the table authenticates the caller that it names, before its handler runs."""

from __future__ import annotations

import re
import time
from typing import Any

from servers.running import (
    ADMIN_TOKEN,
    BLOG_KEY,
    GATE_SECRET,
    PUBLIC_URL,
    SKAI_KEY,
    Running,
    event,
    stripe_signature,
)

from gateway.access import links
from gateway.settings import Secret
from gateway.web.auth import Caller
from gateway.web.routes import API, Route

# The callers of all routes outside /admin, restated by hand.
CALLERS: dict[tuple[str, str], Caller] = {
    ("POST", "/checkout/{app_id}"): "app",
    ("POST", "/portal/{app_id}"): "app",
    ("GET", "/status/{app_id}/{user_id}"): "app",
    ("GET", "/explain/{app_id}/{user_id}"): "app or operator",
    ("POST", "/webhook/stripe"): "stripe",
    ("POST", "/gate/first-seen"): "gate",
    ("POST", "/gate/report"): "gate",
    ("GET", "/metrics"): "gate",
    ("GET", "/health"): "anyone",
    ("GET", "/ready"): "anyone",
    ("GET", "/.well-known/jwks.json"): "anyone",
    ("GET", "/.skpayments/arrived"): "anyone",
    ("GET", "/buy/{app_id}"): "anyone",
    ("GET", "/assets/{name}"): "anyone",
    ("GET", "/buy/{app_id}/offer"): "buyer",
    ("POST", "/buy/{app_id}/checkout"): "buyer",
    ("POST", "/buy/{app_id}/portal"): "buyer",
    ("GET", "/buy/{app_id}/change"): "returning buyer",
}
ACCEPTED: dict[Caller, set[str]] = {
    "app": {"app key"},
    "operator": {"admin token"},
    "gate": {"gate secret"},
    "app or operator": {"app key", "admin token"},
    "buyer": {"upgrade link"},
    "returning buyer": {"return link"},
}
# The error code without a credential, and with one of another caller.
CODES: dict[Caller, tuple[str, str]] = {
    "app": ("not_authenticated", "invalid_app_key"),
    "operator": ("invalid_admin_token", "invalid_admin_token"),
    "gate": ("not_authenticated", "invalid_gate_secret"),
    "app or operator": ("not_authenticated", "invalid_app_key"),
    "buyer": ("not_authenticated", "bad_signature"),
    "returning buyer": ("not_authenticated", "bad_signature"),
}
VALUES = {"user_id": "u1", "name": "buy.js", "key_id": "1", "event_id": "evt_1"}
AUTHENTICATED = [route for route in API if route.caller in ACCEPTED]


def path_of(route: Route, app_id: str) -> str:
    return re.sub(r"{(\w+)}", lambda match: (VALUES | {"app_id": app_id})[match[1]], route.path)


def credentials(running: Running) -> dict[str, str | None]:
    key, now = links.link_keys((Secret(GATE_SECRET),))[0], int(time.time())
    return {
        "none": None,
        "wrong": "wrong",
        "app key": SKAI_KEY,
        "another app's key": BLOG_KEY,
        "admin token": ADMIN_TOKEN,
        "gate secret": GATE_SECRET,
        "upgrade link": running.link("u1"),
        "another app's upgrade link": running.link("u1", "blog"),
        "return link": links.sign_change(key, "skai", "u1", now, return_url="", tier="pro"),
    }


async def call(
    running: Running, route: Route, credential: str | None, app_id: str = "skai", **headers: str
) -> tuple[int, Any]:
    """Status, and JSON unless it is text; everything but the credential is as the route's caller sends it."""
    if "buyer" in route.caller and route.method == "POST":
        headers = {"Origin": PUBLIC_URL, **headers}
    async with running.call(route.method, path_of(route, app_id), credential, json={}, headers=headers) as answer:
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


def test_the_table_names_the_caller_of_each_route() -> None:
    callers = {(route.method, route.path): route.caller for route in API}
    assert {route: caller for route, caller in callers.items() if not route[1].startswith("/admin/")} == CALLERS
    assert {caller for route, caller in callers.items() if route[1].startswith("/admin/")} == {"operator"}


async def test_a_route_accepts_the_credentials_of_its_caller_and_no_others(running: Running) -> None:
    for route in AUTHENTICATED:
        without, wrong = CODES[route.caller]
        for name, credential in credentials(running).items():
            status, answer = await call(running, route, credential)
            if name in ACCEPTED[route.caller]:
                assert status not in (401, 403), (route, name, answer)
            else:
                assert (status, answer["error"]) == (401, without if name == "none" else wrong), (route, name)


async def test_a_key_sent_by_a_browser_is_refused(running: Running) -> None:
    for route in AUTHENTICATED:
        if "buyer" in route.caller:
            continue
        for credential in credentials(running).values():
            for header in ({"Origin": PUBLIC_URL}, {"Sec-Fetch-Site": "same-origin"}):
                status, answer = await call(running, route, credential, **header)
                assert (status, answer["error"]) == (403, "browser_refused"), route


async def test_a_buyers_request_from_another_page_is_refused(running: Running) -> None:
    for route in AUTHENTICATED:
        if "buyer" not in route.caller:
            continue
        for credential in credentials(running).values():
            status, answer = await call(running, route, credential, **{"Sec-Fetch-Site": "cross-site"})
            assert (status, answer["error"]) == (403, "foreign_origin"), route


async def test_an_unknown_app_is_not_found_by_buyers_and_hidden_from_backends(running: Running) -> None:
    for route in AUTHENTICATED:
        if route.caller == "operator" or "{app_id}" not in route.path:
            continue
        for credential in (SKAI_KEY, running.link("u1"), running.link("u1", "nope")):
            status, _ = await call(running, route, credential, "nope")
            assert status == (404 if "buyer" in route.caller else 401), route


async def test_an_open_route_answers_the_same_with_and_without_a_credential(running: Running) -> None:
    for route in [route for route in API if route.caller == "anyone"]:
        answers = set()
        for name, credential in credentials(running).items():
            async with running.call(route.method, path_of(route, "skai"), credential) as answer:
                text = await answer.text()
            # /ready shows its problems to the operator.
            answers.add((answer.status, "" if (name, route.path) == ("admin token", "/ready") else text))
        assert len({status for status, _ in answers}) == 1, route
        assert len({text for _, text in answers if text}) == 1, route


async def test_an_event_is_authenticated_by_its_signature_alone(running: Running) -> None:
    body = event("evt_1")
    for credential in credentials(running).values():
        status, answer = await running.json("POST", "/webhook/stripe", credential, data=body)
        assert (status, answer["error"]) == (400, "missing_signature")
    assert (await running.webhook(body, "t=1,v1=" + "0" * 64))[0] == 400
    assert (await running.webhook(body, stripe_signature(b"another body")))[0] == 400
    assert (await running.webhook(body, stripe_signature(body)))[0] == 200

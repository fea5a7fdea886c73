"""Public requests are cheap, and malformed ones are refused as JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from servers.running import Running, running_application
from web.test_web_bad_input import raw

from gateway.billing.context import Billing
from gateway.web import openapi
from gateway.web.connections import MAX_FIELD_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_LINE_BYTES
from gateway.web.context import Site
from gateway.web.routes import API
from gateway.web.server import web_application

BUDGET_SECONDS = 0.001
ROUNDS = 15
PUBLIC = [route.path for route in API if route.method == "GET" and route.caller == "anyone"] + [openapi.OPENAPI_PATH]
NAMES = {"app_id": "skai", "name": "buy.js"}


@pytest.fixture
async def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[web.Application]:
    """The public listener's application in a running SKPayments."""
    made: list[web.Application] = []

    def keep(billing: Billing, site: Site) -> web.Application:
        made.append(web_application(billing, site))
        return made[0]

    monkeypatch.setattr("gateway.app.application.web_application", keep)
    async with running_application(tmp_path):
        yield made[0]


async def test_the_openapi_document_is_made_once_for_all_requests(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = openapi.openapi
    monkeypatch.setattr(openapi, "openapi", lambda: made.append(1) or original())
    openapi.document.cache_clear()
    for _ in range(3):
        async with running.call("GET", "/openapi.json", None) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
    assert len(made) == 1


@pytest.mark.parametrize("path", PUBLIC)
async def test_no_public_get_takes_more_than_a_millisecond(application: web.Application, path: str) -> None:
    filled = re.sub(r"{(\w+)}", lambda match: NAMES[match[1]], path)
    best = float("inf")
    for _ in range(ROUNDS):
        request = make_mocked_request("GET", filled, app=application)
        started = time.process_time()
        await application._handle(request)
        best = min(best, time.process_time() - started)
    assert best < BUDGET_SECONDS


GET = b"GET /health HTTP/1.1\r\nHost: pay.example.com\r\n"


def refused(answer: bytes) -> tuple[int, str]:
    """The status and our code; nothing of aiohttp in it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"aiohttp" not in answer.lower()
    assert b"python" not in answer.lower()
    assert b"server: skpayments" in head.lower()
    assert int(re.search(rb"content-length: (\d+)", head.lower())[1]) == len(body)  # type: ignore[index]
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize(
    ("name", "sent", "expected"),
    [
        ("a long line", b"GET /" + b"a" * MAX_LINE_BYTES + b" HTTP/1.1\r\n\r\n", (431, "too_large")),
        ("a large header", GET + b"Cookie: a=" + b"a" * MAX_FIELD_BYTES + b"\r\n\r\n", (431, "too_large")),
        ("many headers", GET + b"X-A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", (431, "too_large")),
        ("no HTTP", b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n", (400, "invalid_input")),
        ("two lengths", GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", (400, "invalid_input")),
        ("a broken header", GET + b"X A: b\r\n\r\n", (400, "invalid_input")),
        ("an unknown expectation", GET + b"Expect: a-miracle\r\n\r\n", (417, "expectation_failed")),
    ],
)
async def test_malformed_requests_are_refused_as_json(
    running: Running, name: str, sent: bytes, expected: tuple[int, str]
) -> None:
    assert refused(await raw(running, sent)) == expected


async def test_headers_that_are_too_large_together_are_refused_before_their_end(running: Running) -> None:
    half = b"X-A: " + b"a" * (MAX_HEAD_BYTES // 2) + b"\r\n"
    assert refused(await raw(running, GET + half * 3)) == (431, "too_large")


async def test_a_cookie_of_nine_kilobytes_and_a_large_body_are_no_problem(running: Running) -> None:
    answer = await raw(running, GET + b"Cookie: a=" + b"a" * 9000 + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    body = b"x" * (MAX_HEAD_BYTES * 2)
    post = b"POST /webhook/stripe HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert refused(await raw(running, post + body)) == (400, "missing_signature")

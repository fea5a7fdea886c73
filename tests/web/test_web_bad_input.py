"""Bad input: a clear error, nothing lost, no secret and no traceback in the answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import Iterable
from typing import Any

import pytest
from servers.running import ADMIN_TOKEN, SECRETS, SKAI_KEY, Running
from servers.traefik import until

from gateway.web import bodies

GOOD = {"user_id": "u1", "tier": "pro"}


async def raw(running: Running, request: bytes) -> bytes:
    """The server's answer to these bytes, until it closes or is silent for 2 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.application.web_port)
    answer = bytearray()
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(2):
            while piece := await reader.read(65536):
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return bytes(answer)


def head(path: str = "/checkout/skai", *lines: str, method: str = "POST", key: str = SKAI_KEY) -> bytes:
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: pay.example.com", f"Authorization: Bearer {key}",
         "Content-Type: application/json", *lines, "", ""]
    ).encode("latin-1")  # fmt: skip


def without_secrets(text: str) -> None:
    assert not [secret for secret in SECRETS if secret in text]
    assert "Traceback" not in text
    assert ".py" not in text


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/checkout/skai", {"user_id": "u1", "tier": "gold"}, 404, "unknown_tier"),
        ("/checkout/skai", {"user_id": "u1", "tier": "free"}, 400, "tier_not_for_sale"),
        ("/checkout/skai", {"user_id": "u1", "tier": "sovereign"}, 400, "tier_not_for_sale"),
        ("/checkout/skai", {"user_id": "u1", "tier": "pro", "interval": "week"}, 400, "unknown_interval"),
        ("/checkout/skai", {"user_id": "u1"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "", "tier": "pro"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": 7, "tier": "pro"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "a\nb", "tier": "pro"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "a\0b", "tier": "pro"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "x" * 201, "tier": "pro"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "u1", "tier": "pro", "email": "no address"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "u1", "tier": "pro", "email": "a\x07@b"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "u1", "tier": "pro", "price_id": "price_1"}, 400, "invalid_input"),
        ("/checkout/skai", {"user_id": "u1", "tier": "pro", "price": "price_1"}, 400, "unknown_price"),
        ("/checkout/skai", {"user_id": "u1", "tier": "pro", "interval": "fortnight"}, 400, "invalid_input"),
        ("/checkout/skai", ["user_id", "tier"], 400, "invalid_input"),
        ("/checkout/skai", None, 400, "invalid_input"),
        ("/portal/skai", {"user_id": "u1", "return_url": "https://evil.example"}, 400, "invalid_input"),
    ],
)  # fmt: skip
async def test_an_invalid_body_is_refused_by_field(
    running: Running, path: str, body: Any, status: int, error: str
) -> None:
    answered, answer = await running.json("POST", path, data=json.dumps(body), headers=JSON)
    assert (answered, answer["error"]) == (status, error)
    without_secrets(json.dumps(answer))
    assert not running.stripe.snapshot()["checkout.session"]


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'"\xff"', b"{'user_id': 'u1'}", b'{"user_id": "u1", "user_id": "u2", "tier": "pro"}',
     b'{"user_id": "u1", "tier": NaN}', b'{"user_id": "u1", "tier": -Infinity}', b"[" * 60000,
     b'{"user_id": ' + b"9" * 5000 + b"}", gzip.compress(json.dumps(GOOD).encode(), mtime=0)],
)  # fmt: skip
async def test_a_body_that_is_not_json_is_refused(running: Running, body: bytes) -> None:
    status, answer = await running.json("POST", "/checkout/skai", data=body, headers=JSON)
    assert (status, answer["error"]) == (400, "not_json")


async def test_a_lone_surrogate_is_refused(running: Running) -> None:
    for field in ("user_id", "tier", "email"):
        body = json.dumps({**GOOD, field: "a@\ud800"})
        assert (await running.json("POST", "/checkout/skai", data=body, headers=JSON))[0] == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_another_content_type_is_refused(running: Running, content_type: str) -> None:
    """Any web page can send a form without a preflight."""
    status, answer = await running.json(
        "POST", "/checkout/skai", data=json.dumps(GOOD).encode(), headers={"Content-Type": content_type}
    )
    assert (status, answer["error"]) == (415, "wrong_media_type")


async def pieces(count: int) -> Any:
    for _ in range(count):
        yield b" " * 65536


@pytest.mark.parametrize("path", ["/checkout/skai", "/webhook/stripe"])
async def test_two_megabytes_are_too_large_with_or_without_a_length(running: Running, path: str) -> None:
    from servers.running import stripe_signature

    headers = {**JSON, "Stripe-Signature": stripe_signature(b"")}
    for body in (io.BytesIO(b" " * 2_000_000), pieces(32)):
        status, answer = await running.json("POST", path, data=body, headers=headers)
        assert (status, answer["error"]) == (413, "too_large")


async def test_a_compressed_body_is_not_decompressed(running: Running) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    headers = {**JSON, "Content-Encoding": "gzip"}
    status, answer = await running.json("POST", "/checkout/skai", data=bomb[:60_000], headers=headers)
    assert (status, answer["error"]) == (400, "not_json")


async def test_a_slow_body_is_refused_at_its_deadline(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DEADLINE_SECONDS", 0.2)
    answer = await raw(running, head("/checkout/skai", "Content-Length: 100") + b'{"user_id"')
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"body_too_slow" in answer


async def test_slow_anonymous_bodies_do_not_starve_apps(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """T37: a made-up signature header only takes a slot of the anonymous pool."""
    from servers.running import stripe_signature

    monkeypatch.setattr(bodies, "DEADLINE_SECONDS", 3)
    signature = f"Stripe-Signature: {stripe_signature(b'', 'made up')}"
    writers = []
    try:
        for _ in range(bodies.MAX_BODIES_AT_ONCE):
            _, writer = await asyncio.open_connection("127.0.0.1", running.application.web_port)
            writers.append(writer)
            writer.write(head("/webhook/stripe", signature, "Content-Length: 100"))

        async def full() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.application.web_port)
            writers.append(writer)
            writer.write(head("/webhook/stripe", signature, "Content-Length: 100"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                    return answer.startswith(b"http/1.1 429 ") and b"\r\nretry-after: 1\r\n" in answer
            return False

        await until(full, "all slots for anonymous uploads are taken")
        # A body that arrived with its head does not wait, so it needs no slot.
        whole = {**JSON, "Stripe-Signature": stripe_signature(b"{}", "made up")}
        async with running.call("POST", "/webhook/stripe", None, data=b"{}", headers=whole) as answer:
            assert answer.status == 400
        assert (await running.json("POST", "/checkout/skai", json={"user_id": "u1", "tier": "gold"}))[0] == 404
    finally:
        for writer in writers:
            writer.close()


@pytest.mark.parametrize(
    "rest",
    [("Content-Length: 100", '{"user_id"'), ("Transfer-Encoding: chunked", "5\r\nabcde\r\nZZ\r\n"),
     ("Transfer-Encoding: chunked", "5\r\nabc")],
)  # fmt: skip
async def test_a_truncated_body_is_no_internal_error(
    running: Running, rest: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.application.web_port)
    writer.write(head("/checkout/skai", rest[0]) + rest[1].encode())
    await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert not [record for record in caplog.records if record.message == "request_crashed"]


@pytest.mark.parametrize("path", ["/status/skai/u1", "/explain/skai/u1", "/admin/keys", "/buy/skai/offer"])
async def test_a_credential_that_is_not_ascii_is_refused(running: Running, path: str) -> None:
    answer = await raw(running, head(path, "Connection: close", method="GET", key="\xff\xfe\x80"))
    assert answer.startswith(b"HTTP/1.1 401 ")


HOSTILE: Iterable[bytes] = [
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + SKAI_KEY.encode() + b"\r\n bad : header\r\n\r\n",
    b"GET /buy/skai?t=" + b"A" * 17_000 + SKAI_KEY.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /checkout/skai HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /checkout/skai HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
]


@pytest.mark.parametrize("request_", HOSTILE)
async def test_hostile_bytes_are_refused_without_revealing_internals(
    running: Running, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = (await raw(running, request_)).decode("latin-1")
    assert not answer or answer.split()[1][0] == "4"
    without_secrets(answer)
    # Anonymous input must not alert the operator.
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert (await running.json("GET", "/health", None))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/", 404, "not_found"), ("GET", "/no/such", 404, "not_found"), ("GET", "/checkout/skai", 405, None),
        ("PUT", "/status/skai/u1", 405, None), ("DELETE", "/webhook/stripe", 405, None), ("POST", "/health", 405, None),
        ("GET", "/assets/../../settings.py", 404, "not_found"), ("GET", "/assets/%2e%2e%2fbuy.py", 404, "not_found"),
        ("GET", "/assets/..%2Fbuy.py", 404, "not_found"), ("GET", "/assets/buy.html", 404, "not_found"),
        ("GET", "/assets/%00", 404, "not_found"), ("GET", "/assets/", 404, "not_found"),
        ("GET", "/buy/no-such-app", 404, "unknown_app"), ("GET", "/status/skai/", 404, "not_found"),
    ],
)  # fmt: skip
async def test_unknown_routes_are_a_json_error(
    running: Running, method: str, path: str, status: int, error: str | None
) -> None:
    answer = (await raw(running, head(path, "Connection: close", method=method))).decode()
    top, _, body = answer.partition("\r\n\r\n")
    assert top.startswith(f"HTTP/1.1 {status} ")
    assert json.loads(body)["error"] == (error or "method_not_allowed")
    assert "application/json" in top
    assert "Cache-Control: no-store" in top
    assert (status == 405) == ("\r\nAllow: " in top)


async def test_every_answer_forbids_caching(running: Running) -> None:
    for method, path, key in (
        ("GET", "/health", None), ("GET", "/ready", None), ("GET", "/openapi.json", None), ("GET", "/buy/skai", None),
        ("GET", "/assets/buy.js", None), ("GET", "/status/skai/u1", SKAI_KEY), ("GET", "/status/skai/u1", None),
        ("GET", "/admin/keys", ADMIN_TOKEN), ("GET", "/nothing", None), ("POST", "/webhook/stripe", None),
    ):  # fmt: skip
        async with running.call(method, path, key) as answer:
            assert answer.headers["Cache-Control"] == "no-store", path
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            assert answer.headers["Referrer-Policy"] == "no-referrer", path
            assert answer.headers["Server"] == "skpayments", path


async def test_an_outage_of_stripe_is_502_and_nothing_is_stored(running: Running) -> None:
    running.stripe.fault("status", times=50)
    async with running.call("POST", "/checkout/skai", json=GOOD) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (502, "5")
        without_secrets(await answer.text())
        result = await answer.json()
    assert (result["error"], result["message"]) == (
        "upstream_failed", "Payments are unavailable for a moment. You have not been charged."
    )  # fmt: skip
    running.stripe.faults.clear()
    assert (await running.json("POST", "/checkout/skai", json=GOOD))[0] == 200


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_a_permanent_refusal_of_stripe_is_a_conflict_without_retry_after(running: Running, status: int) -> None:
    running.stripe.fault("status", "/v1/(customers|checkout/sessions)", "POST", times=50, status=status)
    async with running.call("POST", "/checkout/skai", json=GOOD) as answer:
        assert (answer.status, "Retry-After" in answer.headers) == (409, False)
        assert (await answer.json())["error"] == "stripe_refused"
    [alert] = (await running.admin("GET", "/admin/alerts"))[1]["alerts"]
    assert alert["kind"] == "checkout_refused"


async def test_an_internal_error_reveals_no_detail(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gateway.web import apps_api

    async def broken(*_: object) -> None:
        raise RuntimeError(f"secret insides {SKAI_KEY}")

    monkeypatch.setattr(apps_api.statuses, "status", broken)
    status, answer = await running.json("GET", "/status/skai/u1")
    assert (status, answer) == (
        500, {"error": "internal", "message": "Internal error; it was logged."}
    )  # fmt: skip
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["request_crashed"]

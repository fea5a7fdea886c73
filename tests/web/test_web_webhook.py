"""The webhook: a signed event is on disk before its 200, and nothing else is read."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.running import WEBHOOK_SECRET, Running, event, running_application, stripe_signature, write_apps
from servers.traefik import until
from sqlalchemy import Connection
from sqlalchemy import event as db_event

from gateway.store import inbox
from gateway.store.engine.sqlite import SQLite

BODY = event("evt_1")


async def recorded(running: Running) -> list[str]:
    return sorted(each["event_id"] for each in (await running.admin("GET", "/admin/events"))[1]["events"])


async def test_a_repeated_event_is_recorded_once(running: Running) -> None:
    for _ in range(3):
        assert await running.webhook(BODY) == (200, {"received": True})
    assert await recorded(running) == ["evt_1"]


# name → (a header made when the test runs, since it holds the time; the error)
NOT_SIGNED: dict[str, tuple[Callable[[], str], str]] = {
    "none": (lambda: "", "missing_signature"),
    "rubbish": (lambda: "rubbish", "bad_signature"),
    "time only": (lambda: f"t={int(time.time())}", "bad_signature"),
    "no time": (lambda: "v1=" + "0" * 64, "bad_signature"),
    "time in words": (lambda: "t=soon,v1=" + "0" * 64, "bad_signature"),
    "another secret": (lambda: stripe_signature(BODY, "whsec_another"), "bad_signature"),
    "another body": (lambda: stripe_signature(b"another body"), "bad_signature"),
    "scheme v0": (lambda: stripe_signature(BODY).replace("v1=", "v0="), "bad_signature"),
    "too old": (lambda: stripe_signature(BODY, at=time.time() - 400), "stale_signature"),
    "from the future": (lambda: stripe_signature(BODY, at=time.time() + 4000), "stale_signature"),
    "upper case": (lambda: stripe_signature(BODY).upper(), "bad_signature"),
    "too long": (lambda: stripe_signature(BODY) + "," + "x" * 4096, "bad_signature"),
}


@pytest.mark.parametrize("name", NOT_SIGNED)
async def test_what_stripe_did_not_sign_is_refused_and_not_recorded(running: Running, name: str) -> None:
    signature, error = NOT_SIGNED[name][0](), NOT_SIGNED[name][1]
    status, answer = await running.webhook(BODY, signature)
    assert (status, answer["error"]) == (400, error)
    assert WEBHOOK_SECRET not in json.dumps(answer)
    assert await recorded(running) == []


@pytest.mark.parametrize("signature", ["", "t=1,v1=" + "0" * 64, "nonsense"])
async def test_a_bad_signature_header_is_answered_before_the_body_is_sent(running: Running, signature: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.application.web_port)
    line = f"Stripe-Signature: {signature}\r\n" if signature else ""
    writer.write(f"POST /webhook/stripe HTTP/1.1\r\nHost: x\r\n{line}Content-Length: 1000\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


@pytest.mark.parametrize(
    "body",
    [b"not json", b"[]", b"{}", b'{"object": "charge", "id": "ch_1"}', b'{"object": "event", "id": 7, "type": "x"}',
     b'{"object": "event", "id": "", "type": "x"}', b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
async def test_signed_bytes_that_are_not_an_event_are_refused(running: Running, body: bytes) -> None:
    status, answer = await running.webhook(body)
    assert (status, answer["error"]) == (400, "invalid_event")


async def test_both_secrets_verify_while_one_is_rolled(tmp_path: Path) -> None:
    async with running_application(tmp_path, STRIPE_WEBHOOK_SECRET=f"whsec_new_1c2d3e,{WEBHOOK_SECRET}") as running:
        for number, secret in enumerate(("whsec_new_1c2d3e", WEBHOOK_SECRET)):
            body = event(f"evt_{number}")
            assert (await running.webhook(body, stripe_signature(body, secret)))[0] == 200
        both = stripe_signature(BODY, "whsec_elsewhere") + "," + stripe_signature(BODY).partition(",")[2]
        assert (await running.webhook(BODY, both))[0] == 200


async def test_no_redirect_ever_answers_stripe(running: Running) -> None:
    """Stripe counts 3xx as a failure: an extra slash must be a 404."""
    for path in ("/webhook/stripe/", "//webhook/stripe", "/webhook"):
        async with running.call("POST", path, None, data=BODY) as answer:
            assert answer.status == 404


async def test_a_full_disk_acknowledges_nothing_and_recovers(running: Running) -> None:
    store = running.application.parts.store

    limit = 0

    def fill(conn: Connection) -> None:
        nonlocal limit
        limit = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {limit}")

    def make_room(conn: Connection) -> None:
        nonlocal limit
        limit = 100_000
        conn.exec_driver_sql(f"PRAGMA max_page_count = {limit}")

    # A batch that SQLite has rolled back is followed by a new connection, on the same full disk.
    assert isinstance(store._backend, SQLite)
    connects = store._backend._writer
    db_event.listen(connects, "connect", lambda conn, _: conn.execute(f"PRAGMA max_page_count = {limit}"))
    await store.write(fill)
    statuses, acknowledged, ready = set(), [], set()
    for number in range(30):
        event_id = f"evt_{number:03}"
        body = event(event_id, padding="x" * 20_000)
        headers = {"Stripe-Signature": stripe_signature(body)}
        async with running.call("POST", "/webhook/stripe", None, data=body, headers=headers) as answer:
            statuses.add(answer.status)
            if answer.status == 200:
                acknowledged.append(event_id)
                continue
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["error"] == "store_unavailable"
        ready.add((await running.json("GET", "/ready", None))[0])
    assert statuses in ({503}, {200, 503})
    assert 503 in ready
    assert await recorded(running) == acknowledged
    assert (await running.gate())[0] == 200  # the gate needs no disk
    await store.write(make_room)
    assert (await running.webhook(event("evt_after")))[0] == 200

    async def ready_again() -> bool:
        return (await running.json("GET", "/ready", None))[0] == 200

    await until(ready_again, "ready again")


async def test_a_read_only_disk_acknowledges_nothing_and_recovers(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.application.parts.store
    connect = store._backend.connect_writer

    def make_read_only(conn: Connection) -> Connection:
        driver = conn.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA query_only = 1")
        return conn

    with monkeypatch.context() as patched:
        patched.setattr(store._backend, "connect_writer", lambda: make_read_only(connect()))
        await asyncio.to_thread(store.write_now, make_read_only)
        for _ in range(3):
            assert (await running.webhook(BODY))[0] == 503
        assert (await running.json("GET", "/ready", None))[0] == 503
        assert await recorded(running) == []
        assert (await running.gate())[0] == 200

    async def healed() -> bool:
        return (await running.webhook(BODY))[0] == 200

    await until(healed, "the next connection writes")
    assert await recorded(running) == ["evt_1"]


async def test_an_event_that_was_acknowledged_survives_the_next_start(tmp_path: Path) -> None:
    write_apps(tmp_path)
    async with running_application(tmp_path) as running:
        await running.webhook(BODY)
    async with running_application(tmp_path) as running:
        assert await recorded(running) == ["evt_1"]
        stored = await running.application.parts.store.read(lambda conn: inbox.get(conn, "", "evt_1"))
        assert stored is not None
        assert stored.body == BODY


async def test_events_in_parallel_are_all_recorded(running: Running) -> None:
    bodies = [event(f"evt_{number:03}") for number in range(60)]
    answers = await asyncio.gather(*(running.webhook(body) for body in bodies + bodies))
    assert {status for status, _ in answers} == {200}
    assert len(await recorded(running)) == 60

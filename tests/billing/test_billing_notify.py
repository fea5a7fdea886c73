"""Notices to apps: what is sent, what happens when it is not accepted, and one id for each change."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from notify_stage import REF, every, give, notified_app, notify_at, only, send, take_back
from servers.harness import START, Harness, until
from servers.webhook_receiver import OLD_SECRET, SECRET, Receiver

from gateway.billing.notify import notices as notifying
from gateway.billing.notify.notices import notify
from gateway.billing.work import retry
from gateway.errors import StoreUnavailable
from gateway.settings import Secret
from gateway.store import entitlements


@pytest.fixture
async def app(harness: Harness) -> AsyncIterator[Receiver]:
    async with notified_app(harness) as found:
        yield found


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    """A server's certificate that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_a_notice_names_user_tier_reason_limits_and_features(harness: Harness, app: Receiver) -> None:
    await give(harness)
    assert await send(harness) == 1
    [notice] = app.received
    [change] = await harness.query(lambda conn: entitlements.changes(conn, "skai", "u1", 10))
    assert json.loads(notice.body) == {
        "type": "tier.changed",
        "timestamp": "2027-01-15T08:00:00Z",
        "data": {
            "app_id": "skai",
            "user_id": "u1",
            "from": None,
            "to": "pro",
            "reason": "grant",
            "change_id": change.change_id,
            "limits": {
                "max_budget": 10.0,
                "budget_duration": "1d",
                "tpm_limit": 5000,
                "rpm_limit": 60,
                "models": None,
            },
            "features": ["images"],
        },
    }
    assert notice.webhook_id == change.change_id
    assert notice.headers["Content-Type"] == "application/json"
    assert notice.signed_with(SECRET)
    assert not notice.signed_with(OLD_SECRET)
    notice = await only(harness)
    assert (notice.state, notice.attempts, notice.last_status, notice.error) == ("done", 1, 204, "")


async def test_the_official_library_takes_it(harness: Harness, app: Receiver) -> None:
    harness.clock.now = time.time()
    await give(harness)
    await send(harness)
    assert app.received[0].verified(SECRET)["data"]["to"] == "pro"


async def test_a_purchase_and_its_end_are_notified_with_from_and_to(harness: Harness, app: Receiver) -> None:
    subscription_id = await harness.subscribed("u1")
    await send(harness)
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    await send(harness)
    changes_sent = [(each.data["from"], each.data["to"], each.data["reason"]) for each in app.received]
    assert changes_sent == [(None, "pro", "active"), ("pro", "free", "canceled")]
    assert len(set(app.ids)) == 2


async def test_an_unchanged_tier_and_an_app_without_notify_cause_no_notice(harness: Harness, app: Receiver) -> None:
    await harness.want("u9")
    await harness.refresh()
    await give(harness, "plus", "u1", "studio")
    assert await harness.tier("u1", "studio") == "plus"
    await give(harness)
    await give(harness)
    assert [(each.app_id, each.user_id) for each in await every(harness)] == [("skai", "u1")]


async def test_a_notice_is_written_with_the_change_or_not_at_all(
    harness: Harness, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no notice today")

    monkeypatch.setattr("gateway.billing.refresh.refresh.write_notice", broken)
    await give(harness)
    assert await harness.query(lambda conn: entitlements.get(conn, "skai", "u1")) is None
    monkeypatch.undo()
    harness.move(5)
    await harness.refresh()
    assert await harness.tier("u1") == "pro"
    assert (await only(harness)).state == "waiting"


def _unused_url() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/hooks/tiers"


FAILURES: dict[str, tuple[Callable[[Receiver], object], int | None, str]] = {
    "a bug of the app": (lambda app: app.answer_next(500, "oops\n  at line 7"), 500, "answered 500: oops at line 7"),
    "no words": (lambda app: app.answer_next(503), 503, "answered 503"),
    "not found": (lambda app: app.answer_next(404, "nothing here"), 404, "answered 404: nothing here"),
    "a reset": (lambda app: app.reset_next(), None, "the connection failed: "),
    "a slow app": (lambda app: app.hang_next(), None, "no answer within 0.1 seconds"),
    "a flood": (lambda app: app.flood_next(500), 500, "answered 500: xxxxxx"),
    "a redirect": (
        lambda app: app.answer_next(302, "", Location="/elsewhere"),
        302,
        "answered 302, a redirect, which is not followed: put its target into apps.json",
    ),
}


@pytest.mark.parametrize(("fail", "status", "error"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_notice_that_is_not_accepted_is_retried_byte_for_byte(
    harness: Harness,
    app: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[Receiver], object],
    status: int | None,
    error: str,
) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT_SECONDS", 0.1)
    await give(harness)
    fail(app)
    assert await send(harness) == 1
    notice = await only(harness)
    assert (notice.state, notice.attempts, notice.last_status) == ("waiting", 1, status)
    assert notice.error.startswith(error)
    assert len(notice.error) <= 300
    assert (notice.due_at, notice.first_failed_at) == (START + 1, START)
    assert await send(harness) == 0
    # apps.json has other values for the tier by then than at the change.
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][1]["limits"].update(rpm_limit=61))
    harness.move(1)
    assert await send(harness) == 1
    assert (await only(harness)).state == "done"
    first, second = app.received
    assert (first.webhook_id, first.body) == (second.webhook_id, second.body)
    assert int(second.headers["webhook-timestamp"]) == START + 1
    assert second.signed_with(SECRET)
    assert app.redirected == 0
    assert app.written < 32 * 1024 * 1024


async def test_an_app_that_is_down_is_notified_when_it_is_back(harness: Harness, app: Receiver) -> None:
    await give(harness)
    await notify_at(harness, _unused_url())
    await send(harness)
    notice = await only(harness)
    assert (notice.last_status, notice.error) == (None, "cannot be reached: Connection refused")
    # The address is the one of the catalog of now.
    await notify_at(harness, app.url)
    harness.move(1)
    await send(harness)
    assert app.ids == [notice.change_id]


async def test_success_is_success_before_its_body_has_come(harness: Harness, app: Receiver) -> None:
    await give(harness)
    app.stall_next(200)
    async with asyncio.timeout(notifying.TIMEOUT_SECONDS / 2):
        await send(harness)
    assert (await only(harness)).state == "done"


async def test_a_refusal_counts_although_its_words_do_not_come(
    harness: Harness, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT_SECONDS", 0.1)
    await give(harness)
    app.stall_next(410)
    await send(harness)
    assert ((await only(harness)).state, (await only(harness)).error) == ("dead", "answered 410")


async def test_the_pauses_double_up_to_ten_minutes(harness: Harness, app: Receiver) -> None:
    await give(harness)
    app.answer_next(500, times=13)
    pauses = []
    for _ in range(13):
        assert await send(harness) == 1
        due_at = (await only(harness)).due_at
        assert due_at is not None
        pauses.append(due_at - harness.billing.work.now())
        harness.move(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]
    assert len(set(app.ids)) == 1


async def test_a_rolled_secret_signs_with_both(harness: Harness, app: Receiver) -> None:
    harness.billing.apps.secrets = {REF: (Secret(SECRET), Secret(OLD_SECRET))}
    harness.clock.now = time.time()
    await give(harness)
    await send(harness)
    [notice] = app.received
    assert len(notice.headers["webhook-signature"].split(" ")) == 2
    assert notice.verified(SECRET) == notice.verified(OLD_SECRET)


async def test_without_its_secret_nothing_is_sent(harness: Harness, app: Receiver) -> None:
    harness.billing.apps.secrets = {}
    await give(harness)
    await send(harness)
    assert ((await only(harness)).error, app.received) == ("the secret env:HOOK is not there", [])


async def test_a_secret_that_the_app_sends_back_is_kept_nowhere(
    harness: Harness, app: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    bare = SECRET.removeprefix("whsec_")
    app.answer_next(500, f"cannot verify with {SECRET} or {bare}; Authorization: Bearer abcdefgh12345678")
    await give(harness)
    with caplog.at_level(logging.DEBUG):
        await send(harness)
    error = (await only(harness)).error
    assert error.startswith("answered 500: cannot verify with ")
    logged = [str(vars(record)) for record in caplog.records]
    for part in (bare, bare[-12:], "abcdefgh12345678"):
        assert part not in error
        assert not any(part in line for line in logged)


async def test_cookies_of_an_app_are_not_sent_back(harness: Harness, app: Receiver) -> None:
    app.answer_next(500, "", **{"Set-Cookie": "session=1; Path=/"})
    await give(harness)
    await send(harness)
    harness.move(1)
    await send(harness)
    assert [each.headers.get("Cookie") for each in app.received] == [None, None]


async def test_notices_of_a_user_are_in_order_and_wait_for_no_other_user(harness: Harness, app: Receiver) -> None:
    await give(harness)
    await take_back(harness)
    await give(harness, "enterprise")
    await give(harness, "pro", "u2")
    app.answer_next(500)
    assert await send(harness) == 2
    assert [(each.data["user_id"], each.data["to"]) for each in app.received] == [("u1", "pro"), ("u2", "pro")]
    while await send(harness) or harness.billing.work.now() < START + 10:
        harness.move(1)
    changes_sent = [each.data["to"] for each in app.received if each.data["user_id"] == "u1"]
    assert changes_sent == ["pro", "pro", "free", "enterprise"]


async def test_t24_a_kill_between_sending_and_recording_repeats_the_same(harness: Harness, app: Receiver) -> None:
    await give(harness)
    notice = await only(harness)
    task = asyncio.create_task(notify(harness.billing.work, harness.billing.apps, notice))
    app.hang_next()
    await until(lambda: bool(app.received), "the notice arrived")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await harness.restart()
    await notify_at(harness, app.url)
    harness.billing.apps.secrets = {REF: (Secret(SECRET),)}
    assert await send(harness) == 1
    assert [(each.webhook_id, each.body) for each in app.received] == [(notice.change_id, notice.body.encode())] * 2


async def test_a_store_that_is_out_sends_nothing_twice(
    harness: Harness, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give(harness)
    notice, write, refusals = await only(harness), harness.store.write, [1, 2, 3]

    async def flaky(job: Callable[..., Any]) -> Any:
        if refusals:
            refusals.pop()
            raise StoreUnavailable("The disk is full.")
        return await write(job)

    monkeypatch.setattr(retry, "STORE_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(harness.store, "write", flaky)
    await notify(harness.billing.work, harness.billing.apps, notice)
    assert (len(app.received), refusals, (await only(harness)).state) == (1, [], "done")


async def test_a_self_signed_certificate_is_refused(
    harness: Harness, app: Receiver, self_signed: ssl.SSLContext
) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=self_signed)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await notify_at(harness, f"https://127.0.0.1:{port}/hooks/tiers?token=hunter2")
        await give(harness)
        await send(harness)
    notice = await only(harness)
    assert (notice.state, notice.error) == ("waiting", "its certificate is refused: self-signed certificate")


async def test_an_unknown_host_name_is_reported_without_the_address(harness: Harness, app: Receiver) -> None:
    await notify_at(harness, "https://nowhere.invalid/hooks/hunter2")
    await give(harness)
    await send(harness)
    notice = await only(harness)
    assert notice.error.startswith("cannot be reached: ")
    assert "hunter2" not in notice.error

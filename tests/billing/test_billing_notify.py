"""Telling the apps: what is sent, what happens when it is not taken, and that one change has one id for ever."""

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
from notify_stage import REF, every, give, only, send, take_back, told_app, told_at
from servers.webhook_receiver import OLD_SECRET, SECRET, Receiver
from servers.world import START, World, until

from gateway.billing import notify as notifying
from gateway.billing.notify import notify
from gateway.errors import StoreUnavailable
from gateway.settings import Secret
from gateway.store import entitlements


@pytest.fixture
async def app(world: World) -> AsyncIterator[Receiver]:
    async with told_app(world) as found:
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


async def test_an_app_is_told_who_has_which_tier_why_and_what_it_allows(world: World, app: Receiver) -> None:
    await give(world)
    assert await send(world) == 1
    [seen] = app.seen
    [change] = await world.query(lambda conn: entitlements.changes(conn, "skai", "u1", 10))
    assert json.loads(seen.body) == {
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
    assert seen.webhook_id == change.change_id
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.signed_with(SECRET)
    assert not seen.signed_with(OLD_SECRET)
    notice = await only(world)
    assert (notice.state, notice.attempts, notice.last_status, notice.error) == ("done", 1, 204, "")


async def test_the_official_library_takes_it(world: World, app: Receiver) -> None:
    world.clock.now = time.time()
    await give(world)
    await send(world)
    assert app.seen[0].verified(SECRET)["data"]["to"] == "pro"


async def test_a_purchase_and_its_end_are_told_from_and_to(world: World, app: Receiver) -> None:
    subscription_id = await world.subscribed("u1")
    await send(world)
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    await send(world)
    told = [(each.data["from"], each.data["to"], each.data["reason"]) for each in app.seen]
    assert told == [(None, "pro", "active"), ("pro", "free", "canceled")]
    assert len(set(app.ids)) == 2


async def test_who_stays_on_a_tier_and_an_app_without_notify_are_no_news(world: World, app: Receiver) -> None:
    await world.want("u9")
    await world.refresh()
    await give(world, "plus", "u1", "studio")
    assert await world.tier("u1", "studio") == "plus"
    await give(world)
    await give(world)
    assert [(each.app_id, each.user_id) for each in await every(world)] == [("skai", "u1")]


async def test_a_notice_is_written_with_the_change_or_not_at_all(
    world: World, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no notice today")

    monkeypatch.setattr("gateway.billing.refresh.write_notice", broken)
    await give(world)
    assert await world.query(lambda conn: entitlements.get(conn, "skai", "u1")) is None
    monkeypatch.undo()
    world.move(5)
    await world.refresh()
    assert await world.tier("u1") == "pro"
    assert (await only(world)).state == "waiting"


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
async def test_what_is_not_taken_is_sent_again_the_same_to_the_byte(
    world: World,
    app: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[Receiver], object],
    status: int | None,
    error: str,
) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT_SECONDS", 0.1)
    await give(world)
    fail(app)
    assert await send(world) == 1
    notice = await only(world)
    assert (notice.state, notice.attempts, notice.last_status) == ("waiting", 1, status)
    assert notice.error.startswith(error)
    assert len(notice.error) <= 300
    assert (notice.due_at, notice.first_failed_at) == (START + 1, START)
    assert await send(world) == 0
    # What apps.json says of the tier by then is not what it said at the change.
    await world.edit(lambda apps: apps["apps"][0]["tiers"][1]["limits"].update(rpm_limit=61))
    world.move(1)
    assert await send(world) == 1
    assert (await only(world)).state == "done"
    first, again = app.seen
    assert (first.webhook_id, first.body) == (again.webhook_id, again.body)
    assert int(again.headers["webhook-timestamp"]) == START + 1
    assert again.signed_with(SECRET)
    assert app.redirected == 0
    assert app.written < 32 * 1024 * 1024


async def test_an_app_that_is_not_there_is_told_when_it_is(world: World, app: Receiver) -> None:
    await give(world)
    await told_at(world, _unused_url())
    await send(world)
    notice = await only(world)
    assert (notice.last_status, notice.error) == (None, "cannot be reached: Connection refused")
    # The address is the one of the catalog of now.
    await told_at(world, app.url)
    world.move(1)
    await send(world)
    assert app.ids == [notice.change_id]


async def test_success_is_success_before_its_body_has_come(world: World, app: Receiver) -> None:
    await give(world)
    app.stall_next(200)
    async with asyncio.timeout(notifying.TIMEOUT_SECONDS / 2):
        await send(world)
    assert (await only(world)).state == "done"


async def test_a_refusal_counts_although_its_words_do_not_come(
    world: World, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT_SECONDS", 0.1)
    await give(world)
    app.stall_next(410)
    await send(world)
    assert ((await only(world)).state, (await only(world)).error) == ("dead", "answered 410")


async def test_the_pauses_double_up_to_ten_minutes(world: World, app: Receiver) -> None:
    await give(world)
    app.answer_next(500, times=13)
    pauses = []
    for _ in range(13):
        assert await send(world) == 1
        due_at = (await only(world)).due_at
        assert due_at is not None
        pauses.append(due_at - world.billing.now())
        world.move(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]
    assert len(set(app.ids)) == 1


async def test_a_rolled_secret_signs_with_both(world: World, app: Receiver) -> None:
    world.billing.catalog_secrets = {REF: (Secret(SECRET), Secret(OLD_SECRET))}
    world.clock.now = time.time()
    await give(world)
    await send(world)
    [seen] = app.seen
    assert len(seen.headers["webhook-signature"].split(" ")) == 2
    assert seen.verified(SECRET) == seen.verified(OLD_SECRET)


async def test_without_its_secret_nothing_is_sent(world: World, app: Receiver) -> None:
    world.billing.catalog_secrets = {}
    await give(world)
    await send(world)
    assert ((await only(world)).error, app.seen) == ("the secret env:HOOK is not there", [])


async def test_a_secret_that_the_app_sends_back_is_kept_nowhere(
    world: World, app: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    bare = SECRET.removeprefix("whsec_")
    app.answer_next(500, f"cannot verify with {SECRET} or {bare}; Authorization: Bearer abcdefgh12345678")
    await give(world)
    with caplog.at_level(logging.DEBUG):
        await send(world)
    error = (await only(world)).error
    assert error.startswith("answered 500: cannot verify with ")
    logged = [str(vars(record)) for record in caplog.records]
    for part in (bare, bare[-12:], "abcdefgh12345678"):
        assert part not in error
        assert not any(part in line for line in logged)


async def test_cookies_of_an_app_are_not_sent_back(world: World, app: Receiver) -> None:
    app.answer_next(500, "", **{"Set-Cookie": "session=1; Path=/"})
    await give(world)
    await send(world)
    world.move(1)
    await send(world)
    assert [each.headers.get("Cookie") for each in app.seen] == [None, None]


async def test_a_user_hears_in_order_and_waits_for_no_other(world: World, app: Receiver) -> None:
    await give(world)
    await take_back(world)
    await give(world, "enterprise")
    await give(world, "pro", "u2")
    app.answer_next(500)
    assert await send(world) == 2
    assert [(each.data["user_id"], each.data["to"]) for each in app.seen] == [("u1", "pro"), ("u2", "pro")]
    while await send(world) or world.billing.now() < START + 10:
        world.move(1)
    told = [each.data["to"] for each in app.seen if each.data["user_id"] == "u1"]
    assert told == ["pro", "pro", "free", "enterprise"]


async def test_t24_a_kill_between_sending_and_recording_repeats_the_same(world: World, app: Receiver) -> None:
    await give(world)
    notice = await only(world)
    task = asyncio.create_task(notify(world.billing, notice))
    app.hang_next()
    await until(lambda: bool(app.seen), "the notice arrived")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.restart()
    await told_at(world, app.url)
    world.billing.catalog_secrets = {REF: (Secret(SECRET),)}
    assert await send(world) == 1
    assert [(each.webhook_id, each.body) for each in app.seen] == [(notice.change_id, notice.body.encode())] * 2


async def test_a_store_that_is_out_sends_nothing_twice(
    world: World, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give(world)
    notice, write, refusals = await only(world), world.store.write, [1, 2, 3]

    async def flaky(job: Callable[..., Any]) -> Any:
        if refusals:
            refusals.pop()
            raise StoreUnavailable("The disk is full.")
        return await write(job)

    monkeypatch.setattr(notifying, "AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(world.store, "write", flaky)
    await notify(world.billing, notice)
    assert (len(app.seen), refusals, (await only(world)).state) == (1, [], "done")


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    world: World, app: Receiver, self_signed: ssl.SSLContext
) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=self_signed)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await told_at(world, f"https://127.0.0.1:{port}/hooks/tiers?token=hunter2")
        await give(world)
        await send(world)
    notice = await only(world)
    assert (notice.state, notice.error) == ("waiting", "its certificate is refused: self-signed certificate")


async def test_a_name_that_is_not_found_is_told_without_the_address(world: World, app: Receiver) -> None:
    await told_at(world, "https://nowhere.invalid/hooks/hunter2")
    await give(world)
    await send(world)
    notice = await only(world)
    assert notice.error.startswith("cannot be reached: ")
    assert "hunter2" not in notice.error

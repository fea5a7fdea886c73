"""Notify the app's backend of each change of tier by a signed POST, retried under one id until it is accepted.

A notice may arrive twice; a receiver that stores the id can discard the duplicate (T24). The headers are those of
Standard Webhooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from dataclasses import dataclass

import aiohttp
from yarl import URL

import gateway
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.notify.signature import PREFIX, signed_headers
from gateway.billing.refresh.status import limits
from gateway.billing.work import retry
from gateway.billing.work.retry import Failure
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App
from gateway.errors import StoreUnavailable
from gateway.log import fields, redact
from gateway.settings import Secrets
from gateway.store import alerts, notices
from gateway.store.entitlements import Change
from gateway.store.notices import Notice

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 4096
MAX_ERROR_CHARACTERS = 300
GONE = 410


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one POST. `status` None: no response. `error` '': accepted.

    `configured` False: apps.json no longer has `notify` for the app, so a dead notice needs no alert.
    """

    status: int | None
    error: str = ""
    failure: Failure = Failure.UNAVAILABLE
    configured: bool = True


def write_notice(tx: Transaction, app: App, change: Change) -> None:
    """Queue the notice of this change if apps.json has `notify`, in the transaction that recorded the change."""
    if app.notify is not None:
        tx.notify(change, notice_body(app, change))


def notice_body(app: App, change: Change) -> str:
    """The JSON text that is sent, the same in every attempt: limits and features as they were at the change.

    `from` null: the user was unknown before and had the first tier.
    """
    tier = app.tier(change.to_tier) or app.default_tier
    data = {
        "app_id": change.app_id,
        "user_id": change.user_id,
        "from": change.from_tier,
        "to": change.to_tier,
        "reason": change.reason,
        "change_id": change.change_id,
        "limits": limits(tier),
        "features": list(tier.features),
    }
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(change.at))
    return json.dumps({"type": "tier.changed", "timestamp": at, "data": data})


async def notify(work: UnitOfWork, apps: InstalledApps, notice: Notice) -> None:
    """Send one notice and record the result: done, waiting for a retry, or dead with an alert.

    Address and secret come from the current catalog. A repeated call sends the same text under the same id.
    """
    attempt = await _attempt(work, apps, notice)
    while True:
        try:
            await work.write(lambda tx: _record(tx, notice, attempt))
            break
        except StoreUnavailable:
            # It is sent already: without this loop it would be sent every second of the outage.
            await asyncio.sleep(retry.STORE_RETRY_SECONDS)
    ids = {"app_id": notice.app_id, "user_id": notice.user_id, "change_id": notice.change_id}
    if attempt.error:
        log.warning("notice_rejected", extra=fields(**ids, attempts=notice.attempts + 1, detail=attempt.error))
    else:
        log.info("notice_accepted", extra=fields(**ids, attempts=notice.attempts + 1, status=attempt.status))


def _record(tx: Transaction, notice: Notice, attempt: Attempt) -> None:
    """Record the result of the attempt, and the alerts that follow from it."""
    conn, now = tx.conn, tx.now
    subject, attempts = f"{notice.app_id}/{notice.user_id}", notice.attempts + 1
    step = retry.next_step(retry.NOTIFY, attempt.failure, attempts, now, notice.first_failed_at)
    if not attempt.error and attempt.status is not None:
        notices.done(conn, notice, attempt.status, now)
        if not notices.dead_after(conn, notice):
            tx.resolve_alert("notice_dead", subject)
    elif step.dead:
        notices.dead(conn, notice, attempt.status, attempt.error, now)
        if attempt.configured:
            message = f"{notice.change_id} was rejected and is not resent: {attempt.error}"
            tx.open_alert("notice_dead", subject, message)
    else:
        notices.retry(conn, notice, step.retry_at, attempt.status, attempt.error, now)
        if step.alert:
            message = f"the app has not accepted {notice.change_id} in {attempts} attempts: {attempt.error}"
            tx.open_alert("notice_failing", notice.app_id, message)
    # One alert for the app, not one for each user: they share the address.
    failing = alerts.is_open(conn, "notice_failing", notice.app_id)
    if failing and not notices.failing(conn, notice.app_id, retry.FAILURES_UNTIL_ALERT):
        tx.resolve_alert("notice_failing", notice.app_id)


async def _attempt(work: UnitOfWork, apps: InstalledApps, notice: Notice) -> Attempt:
    app = apps.catalog.app(notice.app_id)
    if app is None or app.notify is None:
        return Attempt(None, "apps.json no longer has notify for this app", Failure.REFUSED, configured=False)
    secrets = apps.secrets.get(app.notify.secret, ())
    if not secrets:
        return Attempt(None, f"the secret {app.notify.secret} is not there")
    try:
        body = notice.body.encode()
        status, answer = await _post(app.notify.url, body, signed_headers(secrets, notice.change_id, work.now(), body))
    except (aiohttp.ClientError, OSError) as exc:
        return Attempt(None, _connection_error(exc))
    except Exception as exc:  # an internal error: this notice is retried, the others are sent
        log.warning("notice_attempt_crashed", extra=fields(change_id=notice.change_id), exc_info=exc)
        return Attempt(None, type(exc).__name__)
    if 200 <= status < 300:
        return Attempt(status)
    if 300 <= status < 400:
        return Attempt(status, f"answered {status}, a redirect, which is not followed: put its target into apps.json")
    failure = Failure.REFUSED if status == GONE else Failure.UNAVAILABLE
    return Attempt(status, _response_summary(status, answer, secrets), failure)


def _connection_error(exc: Exception) -> str:
    """Why there is no connection, without the address: a part of it may be secret."""
    if isinstance(exc, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} seconds"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is refused: {getattr(exc.certificate_error, 'verify_message', '') or 'not valid'}"
    if isinstance(exc, aiohttp.ClientConnectorError) and not isinstance(exc, aiohttp.ClientSSLError):
        number = exc.os_error.errno or 0
        # An unknown host name has a number below 0 and its own text.
        return f"cannot be reached: {os.strerror(number) if number > 0 else exc.os_error.strerror}"
    return f"the connection failed: {type(exc).__name__}"


async def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """The status and, unless it is success, the first bytes of the answer.

    Each request has its own session, so that no cookie of one app reaches another.
    """
    headers = headers | {
        "Content-Type": "application/json",
        "User-Agent": f"SKPayments/{gateway.__version__}",
    }
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(URL(url, encoded=True), data=body, headers=headers, allow_redirects=False) as response,
    ):
        answer = bytearray()
        if not 200 <= response.status < 300:
            # Only the status decides; the text is for the operator, as far as it arrives.
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                while len(answer) < MAX_ANSWER_BYTES and not response.content.at_eof():
                    answer += await response.content.read(MAX_ANSWER_BYTES - len(answer))
        return response.status, bytes(answer)


def _response_summary(status: int, answer: bytes, secrets: Secrets) -> str:
    """Status and response as one short printable line, without the secret even if the app returned it."""
    text = answer.decode("utf-8", "replace")
    for secret in secrets:
        text = text.replace(secret.reveal().removeprefix(PREFIX), "********")
    words = "".join(char if char.isprintable() else " " for char in str(redact(text)))
    return f"answered {status}: {' '.join(words.split())}"[:MAX_ERROR_CHARACTERS].rstrip(": ")

"""A vendor failed a call that a person waits for: the buyer gets a message, the operator an alert.

A refusal for good opens an alert, which is resolved when the same call succeeds. A transient failure opens none.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.billing.work.alerting import open_alert
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import StoreUnavailable, UpstreamFailed
from gateway.store import alerts
from gateway.stripe.errors import AuthenticationFailed, PermissionDenied, StripeError, StripeNotFound, UnknownPath

log = logging.getLogger(__name__)

CURRENCY_MISMATCH = "currency_mismatch"
UNAVAILABLE = "Payments are unavailable for a moment. You have not been charged."
REFUSED = "This is not possible at the moment, and a retry does not help. You have not been charged."
KEY_SUBJECT = "Stripe key"
_OTHER_ACCOUNT = "compare the account of the key with that of the database: skpay account show"
_REMEDIES: dict[type[StripeError], str] = {
    StripeError: (
        "find the request in the Dashboard (Developers > Logs) and correct the price, the customer or the app's urls"
    ),
    AuthenticationFailed: "the key is wrong or revoked: set STRIPE_SECRET_KEY to a valid one",
    PermissionDenied: "the restricted key lacks the permission that Stripe names: add it in the Dashboard",
    StripeNotFound: _OTHER_ACCOUNT,
    UnknownPath: _OTHER_ACCOUNT,
}


@asynccontextmanager
async def alert_refusals(work: UnitOfWork, kind: str, subject: str) -> AsyncIterator[None]:
    """Open an alert of this kind when the block is refused for good; resolve it when the block succeeds.

    All refusals of the key share one alert. If the alert cannot be stored, the refusal is raised all the same.
    """
    try:
        yield
    except UpstreamFailed as exc:
        if not exc.retryable:
            with suppress(StoreUnavailable):
                await _open(work, kind, subject, exc)
        raise
    over = [(kind, subject), (kind, KEY_SUBJECT)]
    if kind == "checkout_refused":
        over.append((CURRENCY_MISMATCH, subject))
    with suppress(StoreUnavailable):
        if await work.read(lambda conn: any(alerts.is_open(conn, *each) for each in over)):
            await work.write(lambda tx: tx.resolve_alerts(over))


async def _open(work: UnitOfWork, kind: str, subject: str, exc: UpstreamFailed) -> None:
    detail = exc.detail or exc.message
    if exc.code == CURRENCY_MISMATCH:
        await open_alert(work, "currency_mismatch", subject, detail)
        return
    of_the_key = isinstance(exc, AuthenticationFailed | PermissionDenied)
    remedy = next((_REMEDIES[each] for each in type(exc).__mro__ if each in _REMEDIES), "")
    message = f"{subject} was refused, and a retry does not help: {detail}{f'; {remedy}' if remedy else ''}"
    await open_alert(work, kind, KEY_SUBJECT if of_the_key else subject, message)


@asynccontextmanager
async def alert_refusals_to_buyer(work: UnitOfWork, kind: str, subject: str) -> AsyncIterator[None]:
    """The same for a call that a buyer waits for. Buyers get a message of their own, never the operator's error."""
    try:
        async with alert_refusals(work, kind, subject):
            yield
    except UpstreamFailed as exc:
        if exc.code == CURRENCY_MISMATCH:
            raise
        raise UpstreamFailed(
            UNAVAILABLE if exc.retryable else REFUSED,
            retryable=exc.retryable,
            status=exc.status,
            code=exc.code,
            detail=exc.detail or exc.message,
            fields=exc.fields,
        ) from exc
    except StoreUnavailable as exc:
        raise StoreUnavailable(UNAVAILABLE, code=exc.code, detail=exc.detail, fields=exc.fields) from exc

"""When reconciling happens in a running server: events every few minutes, a full pass once a day or on request."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from gateway.billing.context import Billing
from gateway.billing.events.missed import CURSOR, fill_inbox, stripe_time
from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.report import Report
from gateway.billing.reconcile.state import ReconcileOptions, ReconcileState
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.retry import RECONCILE, Failure, classify, describe, next_step
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import SkpayError, StoreUnavailable
from gateway.log import fields
from gateway.store import instance

log = logging.getLogger(__name__)

FILL_SECONDS, FIRST_FILL_SECONDS = 300, 5
PASS_SECONDS, FIRST_PASS_SECONDS = 86_400, 120
JITTER = 0.1
EVENTS_KEPT_SECONDS = 30 * 86_400
RECONCILED_AT = "reconciled_at"


async def fill_for_ever(billing: Billing) -> None:
    """Fetch missed events periodically, the first time soon after the start."""
    await asyncio.sleep(_jittered(FIRST_FILL_SECONDS))
    failures = 0
    while True:
        failures = 0 if await try_fill(billing, failures) else failures + 1
        await asyncio.sleep(_jittered(FILL_SECONDS))


async def try_fill(billing: Billing, failures: int) -> bool:
    """One fill; a failure is counted by the caller, and alerted when it lasts or Stripe refuses for good."""

    async def once() -> None:
        await fill_inbox(billing)

    return await _tried(billing.work, "events", once, failures)


async def pass_for_ever(billing: Billing) -> None:
    """A full pass once a day, and when an operator requests one. Soon after a start that finds the last one overdue."""
    failures = 0
    not_before = billing.work.monotonic() + _jittered(FIRST_PASS_SECONDS)
    while True:
        reconciling = billing.reconciling
        if await _requested_before(billing.work, billing.reconciling, not_before):
            await run_requested(billing)
        else:
            failures = 0 if await try_pass(billing, failures) else failures + 1
            not_before = billing.work.monotonic() + (_jittered(RECONCILE.delay(failures)) if failures else 0)
        reconciling.request_made.clear()


async def _next_pass_at(work: UnitOfWork, pass_seconds: float = PASS_SECONDS) -> float:
    """The day after the last one; at once if the service was away for longer than Stripe keeps events, or if the last
    one was at an instant that has not come yet: then the clock was wrong.
    """
    try:
        cursor = await work.read(lambda conn: instance.get(conn, CURSOR))
        last = await work.read(lambda conn: instance.get(conn, RECONCILED_AT))
    except StoreUnavailable:
        return work.now() + RECONCILE.delay(1)
    now = work.now()
    events_kept_until = int(cursor) + EVENTS_KEPT_SECONDS if cursor is not None else now
    if last is None or int(last) > now or int(last) <= events_kept_until < now:
        return 0
    return int(last) + pass_seconds


async def _requested_before(work: UnitOfWork, reconciling: ReconcileState, not_before: float) -> bool:
    """Wait until the next pass is due, on the monotonic clock not before `not_before`; True at once if an operator
    requests one meanwhile.
    """
    pass_seconds = _jittered(PASS_SECONDS)
    while True:
        if reconciling.requested is not None:
            return True
        due_in = await _next_pass_at(work, pass_seconds) - work.now()
        left = max(not_before - work.monotonic(), due_in)
        if left <= 0:
            return False
        try:
            # Short waits: the clock may be set.
            async with asyncio.timeout(min(left, 30)):
                await reconciling.request_made.wait()
        except TimeoutError:
            continue


async def run_requested(billing: Billing) -> None:
    """The pass that an operator requested; its report or error stays until the next request."""
    reconciling = billing.reconciling
    options, reconciling.requested, reconciling.under_way = reconciling.requested or ReconcileOptions(), None, True
    try:
        report = await reconcile(billing, options, reconciling.progress)
        reconciling.report = report.shown()
    except SkpayError as exc:
        reconciling.error = f"{exc.message}{f' ({exc.detail})' if exc.detail else ''}"
        log.warning("reconcile_failed", extra=fields(detail=exc.detail or exc.message))
    except Exception:
        reconciling.error = "internal error; the log has its traceback"
        log.exception("worker_loop_failed", extra=fields(loop="reconcile"))
    finally:
        reconciling.under_way = False


async def try_pass(billing: Billing, failures: int) -> bool:
    """The day's pass, repairing what it finds; a wave stops it and raises an alert. False if it failed."""
    reconciling = billing.reconciling

    async def once() -> None:
        report = await reconcile(billing, ReconcileOptions(apply=True))
        await _report(billing.work, report)
        at = min(billing.work.now(), stripe_time(billing.work, billing.stripe))
        await billing.work.store.write(lambda conn: instance.put(conn, RECONCILED_AT, str(at)))

    reconciling.under_way = True
    try:
        return await _tried(billing.work, "full pass", once, failures)
    finally:
        reconciling.under_way = False


async def _report(work: UnitOfWork, report: Report) -> None:
    if report.stopped:
        await open_alert(work, "reconcile_stopped", "full pass", report.stopped)
    else:
        await resolve_alert(work, "reconcile_stopped", "full pass")
    if report.found:
        log.warning("drift_found", extra=fields(applied=report.applied, **report.counts()))
    for problem in report.problems:
        log.warning("reconcile_incomplete", extra=fields(detail=problem))


async def _tried(work: UnitOfWork, subject: str, once: Callable[[], Awaitable[None]], failures: int) -> bool:
    try:
        await once()
        await resolve_alert(work, "reconcile_failing", subject)
    except Exception as exc:
        if classify(exc) is Failure.INTERNAL:
            log.exception("worker_loop_failed", extra=fields(loop=subject))
        else:
            log.warning("reconcile_deferred", extra=fields(subject=subject, detail=describe(exc)))
        if next_step(RECONCILE, classify(exc), failures + 1, work.now()).alert:
            await _alert_failing(work, subject, describe(exc))
        return False
    return True


async def _alert_failing(work: UnitOfWork, subject: str, detail: str) -> None:
    try:
        await open_alert(work, "reconcile_failing", subject, f"cannot be compared with Stripe: {detail}")
    except StoreUnavailable as exc:
        log.warning("reconcile_deferred", extra=fields(subject=subject, detail=exc.detail))


def _jittered(seconds: float) -> float:
    """So that many installations, or two loops of one, do not send requests at the same instant."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # no secret

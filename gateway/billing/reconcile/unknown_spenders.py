"""Spend at LiteLLM that belongs to no user here: calls without a user id, or with one that was never provisioned (T23).

The holder of the shared key of a `customer` app can send any id, and an unknown id has no limits.
"""

from __future__ import annotations

from functools import partial

from gateway.billing.context import Billing
from gateway.billing.reconcile.report import Report
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import UpstreamFailed
from gateway.store import litellm_ids

SUBJECT = "LiteLLM"
PAGE = 500
NAMED = 10


async def find_unknown_spenders(billing: Billing, report: Report) -> None:
    """Add them to the report, if any app provisions its users as customers. A failure is reported as a problem."""
    modes = {app.litellm.mode for app in billing.apps.catalog.apps.values() if app.litellm is not None}
    if billing.litellm is None or "customer" not in modes or report.app_id is not None:
        return
    try:
        spending = await billing.litellm.spending_customers()
    except UpstreamFailed as exc:
        report.problems.append(f"spend at LiteLLM could not be read: {exc.message} {exc.detail}".strip())
        return
    for start in range(0, len(spending), PAGE):
        ids = spending[start : start + PAGE]
        ours = await billing.work.read(partial(litellm_ids.reserved, mode="customer", ids=ids))
        report.unknown_spenders += [each for each in ids if each not in ours]


async def alert_unknown_spenders(work: UnitOfWork, report: Report) -> None:
    """One alert while there are any; it is over when a pass finds none."""
    if report.app_id is not None:
        return
    if not report.unknown_spenders:
        await resolve_alert(work, "unknown_spender", SUBJECT)
        return
    named = ", ".join(repr(each[:80]) for each in report.unknown_spenders[:NAMED])
    more = f" and {len(report.unknown_spenders) - NAMED} more" if len(report.unknown_spenders) > NAMED else ""
    await open_alert(work, "unknown_spender", SUBJECT, f"calls are paid for that no user of ours made: {named}{more}")

"""LiteLLM's side of a reconcile: compares each user's limits there with those of the stored tier.

Apps that share their users (`shared_users`) are left out: there the limits of the last writer are correct.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.billing.provision.provision import budget_id
from gateway.billing.reconcile.report import Kind, Line, Report, describe_tier
from gateway.billing.reconcile.state import Progress
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Tier
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.litellm import LimitsComparison, LiteLLM, check_litellm_id
from gateway.store import drift, entitlements, litellm_ids, provisioning
from gateway.store.litellm_ids import ReservedId

MAX_CONCURRENT = 8
PAGE = 500
FAILURES_UNTIL_STOP = 20

User = tuple[str, str]
"""A user id and the id of the tier that is stored."""


async def compare_litellm(billing: Billing, report: Report, progress: Progress) -> None:
    """Add a line for each user with other limits at LiteLLM. An outage is reported as a problem, not raised."""
    if billing.litellm is None:
        return
    progress.begin("LiteLLM", 0)
    for app in billing.apps.catalog.apps.values():
        if app.litellm is None or app.litellm.shared_users or report.app_id not in (None, app.app_id):
            continue
        comparison = _Comparison(billing.work, billing.litellm, app, report)
        async for users in _users(billing.work, app):
            progress.total += len(users)
            await comparison.compare_users(users)
            progress.done += len(users)
            if comparison.failures >= FAILURES_UNTIL_STOP:
                break
        comparison.report_failures()


async def _users(work: UnitOfWork, app: App) -> AsyncIterator[Sequence[User]]:
    """Pages of users with a stored tier, then of users that only LiteLLM has: they have the first tier."""
    after = ""
    while page := await work.read(partial(drift.entitled_after, app_id=app.app_id, after=after, limit=PAGE)):
        after = page[-1][0]
        yield page
    after = ""
    while holdings := await work.read(partial(_ids_of_app, app=app, after=after)):
        after = holdings[-1].litellm_id
        yield [(each.user_id, app.default_tier.tier_id) for each in holdings if each.tier is None]


def _ids_of_app(conn: Connection, *, app: App, after: str) -> list[ReservedId]:
    return litellm_ids.of_app(conn, app.app_id, app.litellm.mode if app.litellm else "", after, PAGE)


class _Comparison:
    """One app's users, a few at a time; LiteLLM does not limit an operator's requests."""

    def __init__(self, work: UnitOfWork, litellm: LiteLLM, app: App, report: Report) -> None:
        self._work = work
        self._litellm = litellm
        self._app = app
        self._report = report
        self.failures = 0
        self._last_failure = ""

    async def compare_users(self, users: Sequence[User]) -> None:
        for start in range(0, len(users), MAX_CONCURRENT):
            if self.failures >= FAILURES_UNTIL_STOP:
                return
            comparisons = (self._compare_user(*user) for user in users[start : start + MAX_CONCURRENT])
            for outcome in await asyncio.gather(*comparisons, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome

    def report_failures(self) -> None:
        if self.failures:
            stopped = ", so the others were not checked" if self.failures >= FAILURES_UNTIL_STOP else ""
            self._report.problems.append(
                f"the limits of {self.failures} users of {self._app.app_id} could not be read from LiteLLM{stopped}: "
                f"{self._last_failure}"
            )

    async def _compare_user(self, user_id: str, tier_id: str) -> None:
        known = self._report.found.get((self._app.app_id, user_id))
        due = (known.due_tier if known else None) or tier_id
        tier = self._app.tier(due) or self._app.default_tier
        own_id = self._app.litellm_id(user_id)
        try:
            check_litellm_id(own_id)
            comparison = await self._fetch_limits(own_id, tier)
        except InvalidInput:
            return  # never provisioned; `litellm_refused` is open for it
        except UpstreamFailed as exc:
            self.failures += 1
            self._last_failure = f"{exc.message} {exc.detail}".strip()
            return
        self._report.checked.litellm += 1
        if comparison is not None and not comparison.differences:
            if known is not None:
                self._report.add(replace(known, litellm=f"{tier.tier_id}'s limits"))
        elif known is not None and known.due_tier is not None:
            # The refresh that brings the tier brings its limits too.
            self._report.add(
                replace(known, kind=_worse(known.kind, _kind(tier, comparison)), litellm=_describe_limits(comparison))
            )
        else:
            compare = partial(self._line, user_id=user_id, tier=tier, own_id=own_id, comparison=comparison)
            line = await self._work.read(compare)
            if line is not None:
                self._report.add(_merged(known, line) if known else line)

    async def _fetch_limits(self, own_id: str, tier: Tier) -> LimitsComparison | None:
        if self._app.litellm is not None and self._app.litellm.mode == "customer":
            return await self._litellm.compare_customer(own_id, budget_id(self._app, tier), tier.limits)
        return await self._litellm.compare_internal_user(own_id, tier.limits)

    def _line(
        self, conn: Connection, *, user_id: str, tier: Tier, own_id: str, comparison: LimitsComparison | None
    ) -> Line | None:
        """None while a job that has not failed yet is on its way, or the tier has changed since."""
        app = self._app
        stored = entitlements.get(conn, app.app_id, user_id)
        now_tier = (app.tier(stored.entitlement.tier) if stored else None) or app.default_tier
        job = provisioning.get(conn, app.app_id, user_id)
        if now_tier != tier or (job is not None and job.is_on_its_way):
            return None
        stored_state = describe_tier(stored.entitlement) if stored else f"{tier.tier_id} (default)"
        reserved = litellm_ids.get(conn, app.litellm.mode if app.litellm else "", own_id)
        foreign = reserved is not None and (reserved.owner.app_id, reserved.owner.user_id) != (app.app_id, user_id)
        repair = "limits are rewritten"
        if foreign and reserved is not None:
            repair = f"none: LiteLLM's id belongs to {reserved.owner.app_id}/{reserved.owner.user_id}"
        return Line(
            _kind(tier, comparison),
            app.app_id,
            user_id,
            stored_state,
            stored_state,
            _describe_limits(comparison),
            repair,
            provision=not foreign,
        )


def _kind(tier: Tier, comparison: LimitsComparison | None) -> Kind:
    """A user above the first tier is blocked by lower limits. A user that LiteLLM does not know has no limits, unless
    its configuration has a default budget: that is the first tier's, too little for a higher tier.
    """
    if tier.rank and (comparison is None or comparison.allows_less):
        return Kind.PAID_BUT_BLOCKED
    return Kind.UNPAID_BUT_ACTIVE if comparison is None or comparison.allows_more else Kind.OTHER


def _describe_limits(comparison: LimitsComparison | None) -> str:
    return "; ".join(comparison.differences) if comparison else "does not know the user"


def _merged(stripe: Line, litellm: Line) -> Line:
    """One user, the right tier, but both its status and its limits differ."""
    kind, repair = _worse(stripe.kind, litellm.kind), f"{stripe.repair}; {litellm.repair}"
    return replace(stripe, kind=kind, litellm=litellm.litellm, repair=repair, provision=litellm.provision)


def _worse(one: Kind, other: Kind) -> Kind:
    return min(one, other, key=list(Kind).index)

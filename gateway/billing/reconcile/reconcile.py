"""The full pass: every subscription at Stripe and every limit at LiteLLM, compared with what is stored.

Nothing is decided or written here. Stripe's bulk list only finds candidates; these are fetched one by one as a refresh
does, and differences are repaired by a refresh or a provisioning job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial

from sqlalchemy import Connection

from gateway.billing.accounts import unadopted
from gateway.billing.accounts.adopt import adopt_unknown
from gateway.billing.context import Billing
from gateway.billing.events.missed import check_account, fill_inbox
from gateway.billing.reconcile.litellm_drift import compare_litellm
from gateway.billing.reconcile.report import (
    IdSet,
    Kind,
    Line,
    Report,
    describe_tier,
    is_suspect,
    stripe_line,
    wave_limit,
)
from gateway.billing.reconcile.state import Progress, ReconcileOptions
from gateway.billing.reconcile.unknown_spenders import alert_unknown_spenders, find_unknown_spenders
from gateway.billing.refresh.holdings import fetch_holdings
from gateway.billing.refresh.refresh import conclude
from gateway.billing.work.transaction import Transaction
from gateway.catalog.model import App
from gateway.errors import UpstreamFailed
from gateway.log import fields
from gateway.store import alerts, customers, drift, entitlements, refreshes
from gateway.store.customers import Customer
from gateway.store.drift import StoredCustomer
from gateway.store.entitlements import Stored
from gateway.stripe.errors import StripeNotFound
from gateway.tiers.model import Subscription

log = logging.getLogger(__name__)

MAX_CONCURRENT = 4
PAGE = 500
REPAIRS_A_WRITE = 500

User = tuple[str, str]


async def reconcile(billing: Billing, options: ReconcileOptions, progress: Progress | None = None) -> Report:
    """Compare, and with `apply` schedule the repairs. Raises `NotFound`, `UpstreamFailed`; nothing is applied then."""
    if options.app_id is not None:
        billing.apps.app(options.app_id)
    report = Report(options.app_id)
    one_pass = _Pass(billing, options, report, progress or Progress())
    await one_pass.compare_stripe()
    await compare_litellm(billing, report, one_pass.progress)
    await find_unknown_spenders(billing, report)
    if options.apply:
        await alert_unknown_spenders(billing.work, report)
        await _settle_unadopted(billing, report)
        await _apply(billing, options, report)
    log.info("reconciled", extra=fields(app_id=options.app_id, applied=report.applied, **report.counts()))
    return report


async def _settle_unadopted(billing: Billing, report: Report) -> None:
    """Alert customers that pay for a tier and are no users of ours; adopt those that we signed.

    Those with an alert are checked as well, because their subscriptions may have ended.
    """
    alerted = [each.subject for each in await billing.work.read(alerts.live) if each.kind == unadopted.KIND]
    for customer_id in report.unadopted:
        billing.account.unknown_customers.pop(customer_id, None)
    failed = await adopt_unknown(billing, [*report.unadopted, *(alerted if report.app_id is None else ())])
    if failed:
        report.problems.append(f"{len(failed)} customers that may pay for a tier could not be read")


async def _apply(billing: Billing, options: ReconcileOptions, report: Report) -> None:
    if report.is_wave and not options.yes:
        report.stopped = (
            f"applying would lower {report.lowered} users, more than {wave_limit(report.payers)} of {report.payers} "
            "payers; nothing was applied. If they really left, add --yes."
        )
        return
    lines = list(report.found.values())
    for start in range(0, len(lines), REPAIRS_A_WRITE):
        part = lines[start : start + REPAIRS_A_WRITE]
        await billing.work.write(partial(_request_repairs, lines=part))
    report.applied = True
    if options.app_id is None:  # the list knows no apps
        await fill_inbox(billing)  # the state is right without it; `explain` should know the events all the same


def _request_repairs(tx: Transaction, *, lines: Sequence[Line]) -> None:
    for line in lines:
        if line.refresh:
            tx.want_refresh(line.app_id, line.user_id)
        if line.provision:
            tx.provision(line.app_id, line.user_id)


class _Pass:
    """Stripe's side of one pass. Memory grows with what differs, and by 16 bytes a customer; with nothing else."""

    def __init__(self, billing: Billing, options: ReconcileOptions, report: Report, progress: Progress) -> None:
        self._billing = billing
        self._app_id = options.app_id
        self._report = report
        self._listed = IdSet()
        self._looked_up: set[User] = set()
        self._unknown_to_stripe = 0
        self.progress = progress

    async def compare_stripe(self) -> None:
        """Every subscription in bulk, the suspects one by one, then users with a tier but no subscription there."""
        billing = self._billing
        await check_account(billing)
        self._report.payers = await billing.work.read(partial(drift.count_payers, app_id=self._app_id))
        self.progress.begin("Stripe", self._report.payers)
        await billing.reconciling.pace.wait()
        async for page in billing.stripe.subscriptions.pages():
            await self._look_up(await self._suspects(page))
            await billing.reconciling.pace.wait()
        self.progress.begin("customers", await billing.work.read(drift.count_customers))
        after = ""
        while known := await billing.work.read(partial(drift.known_after, after=after, limit=PAGE)):
            after = max(known)
            self._report.checked.customers += len(known)
            self.progress.done += len(known)
            await self._look_up(self._missing_from_stripe(known.values()))

    async def _suspects(self, rows: Sequence[Subscription]) -> list[User]:
        """The owners of those rows of a page that differ from the store; rows of other products are skipped."""
        billing, now = self._billing, self._billing.work.now()
        ids = list({row.customer_id for row in rows})
        known = await billing.work.read(partial(drift.of_customers, customer_ids=ids))
        self.progress.done += len(rows)
        self._report.checked.subscriptions += len(rows)
        found: list[User] = []
        for row in rows:
            owner = known.get(row.customer_id)
            app = self._app_of(owner) if owner else None
            if owner is None:
                self._record_unadopted(row)
            if owner is None or app is None:
                continue
            self._listed.add(row.customer_id)
            self._listed.add(row.subscription_id)
            known_prices = billing.prices.known_tiers(app.app_id)
            # The cause of a concern may be gone, which no row shows.
            if owner.concerned or is_suspect(app, row, owner.entitlement, known_prices, now):
                found.append((owner.app_id, owner.user_id))
        return found

    def _record_unadopted(self, row: Subscription) -> None:
        concern = unadopted.paying_concern(self._billing.apps, self._billing.prices, [row], self._app_id)
        if concern is not None:
            self._report.unadopted[row.customer_id] = concern.message

    def _missing_from_stripe(self, known: Iterable[StoredCustomer]) -> list[User]:
        """Users with a tier by a subscription that the bulk list did not contain.

        It leaves out customers of test clocks, so with a test key every user that it did not contain is looked up.
        """
        found: list[User] = []
        for each in known:
            if self._app_of(each) is None:
                continue
            stored = each.entitlement
            mine = stored is not None and stored.customer_id == each.customer_id
            shown = stored is None or stored.subscription_id is None or stored.subscription_id in self._listed
            unlisted = not self._billing.stripe.livemode and each.customer_id not in self._listed
            if (mine and not shown) or unlisted:
                found.append((each.app_id, each.user_id))
        return found

    def _app_of(self, known: StoredCustomer) -> App | None:
        """The app of this customer; None if apps.json no longer has it, or the pass is for another app."""
        return self._billing.apps.catalog.app(known.app_id) if self._app_id in (None, known.app_id) else None

    async def _look_up(self, users: Iterable[User]) -> None:
        """Each user once, a few at a time."""
        new = [user for user in dict.fromkeys(users) if user not in self._looked_up]
        self._looked_up.update(new)
        for start in range(0, len(new), MAX_CONCURRENT):
            lookups = (self._look_up_one(*user) for user in new[start : start + MAX_CONCURRENT])
            for outcome in await asyncio.gather(*lookups, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _look_up_one(self, app_id: str, user_id: str) -> None:
        """Decide as a refresh would; a line where that is not what is stored."""
        billing = self._billing
        app = billing.apps.app(app_id)
        await billing.reconciling.pace.wait()
        self._report.checked.one_by_one += 1
        known, before = await billing.work.read(partial(_known_and_stored, app_id=app_id, user_id=user_id))
        try:
            holdings = await fetch_holdings(billing, known)
        except StripeNotFound as exc:
            self._cannot_be_read(app_id, user_id, before, exc)
            return

        def compare(conn: Connection) -> Line | None:
            concluded = conclude(conn, billing.prices, app, user_id, holdings, billing.work.now())
            if concluded.stored != before or _being_refreshed(conn, app_id, user_id, billing.work.now()):
                return None  # being refreshed: what we fetched may be older than what the refresh writes
            return stripe_line(app, user_id, concluded.decided, before.entitlement if before else None)

        line = await billing.work.read(compare)
        if line is not None:
            self._report.add(line)

    def _cannot_be_read(self, app_id: str, user_id: str, stored: Stored | None, exc: StripeNotFound) -> None:
        """A customer that Stripe does not know, while it knows others: an operator must check. The tier is kept.

        Many of them mean a wrong key, which ends the pass.
        """
        self._unknown_to_stripe += 1
        if self._unknown_to_stripe > wave_limit(self._report.payers):
            raise UpstreamFailed(
                "Stripe does not know many of our customers: this key is another account's, or another mode's.",
                retryable=False,
                detail=exc.detail,
            )
        stored_state = describe_tier(stored.entitlement if stored else None)
        repair = "none: find out which account the customer is in"
        self._report.add(Line(Kind.OTHER, app_id, user_id, "no such customer", stored_state, "", repair))


def _known_and_stored(conn: Connection, *, app_id: str, user_id: str) -> tuple[list[Customer], Stored | None]:
    return customers.of_user(conn, app_id, user_id), entitlements.get(conn, app_id, user_id)


def _being_refreshed(conn: Connection, app_id: str, user_id: str, now: int) -> bool:
    """Whether a refresh is wanted or under way that has not failed yet."""
    pending = refreshes.of_user(conn, app_id, user_id)
    if pending is None:
        return False
    return pending.lease_until > now or (pending.wanted > pending.done and pending.attempts == 0)

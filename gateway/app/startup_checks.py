"""Requests to Stripe after a start: the account of the key and, after a loss or a restore, the customers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping

from gateway.billing.accounts.account import AccountCheck, binding, refuse_wrong_account, unanswered
from gateway.billing.accounts.forget import CHANGES_KEPT_SECONDS, purge, purge_gate_changes
from gateway.billing.accounts.recovery import begin_recovery, recover
from gateway.billing.accounts.signing import sign_customers
from gateway.billing.context import Billing
from gateway.errors import ConfigError, UpstreamFailed
from gateway.log import fields

log = logging.getLogger(__name__)

START_SECONDS = 4.0
"""How long a start waits for Stripe: an outage of Stripe must not be one of ours."""
RETRY_SECONDS = 5.0
PURGE_SECONDS = 86_400.0
_RECOVERY = {
    "restored": "a backup was restored: every user is being refreshed from Stripe",
    "empty": "the database is new: looking for customers of this service at Stripe",
}


class StartupChecks:
    """`problems` is what /ready reports; an entry is removed when Stripe has answered."""

    def __init__(self, billing: Billing, problems: MutableMapping[str, str]) -> None:
        self._billing = billing
        self._problems = problems
        self._check: AccountCheck | None = None
        self._recovery = ""

    async def run_before_serving(self) -> None:
        """Raises `ConfigError` for a key of another account. An outage of Stripe does not prevent the start."""
        billing = self._billing
        self._check = AccountCheck(billing, await billing.work.read(binding))
        self._recovery = await billing.work.store.write(begin_recovery)
        if self._recovery:
            billing.account.recovering = self._recovery == "restored"
            self._problems["recovery"] = _RECOVERY[self._recovery]
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._check_account(self._check)
        except (UpstreamFailed, TimeoutError) as exc:
            self._report_unchecked(exc)

    async def retry_until_answered(self) -> None:
        """While serving, until Stripe has answered each request."""
        while self._check is not None:
            try:
                await self._check_account(self._check)
            except ConfigError as exc:
                self._problems["account"] = exc.message
                await refuse_wrong_account(self._billing.work, self._billing.account, exc.message)
                return
            except UpstreamFailed as exc:
                self._report_unchecked(exc)
                await asyncio.sleep(RETRY_SECONDS)
        while self._recovery:
            try:
                await recover(self._billing)
                self._recovery = ""
                self._problems.pop("recovery", None)
            except UpstreamFailed as exc:
                log.warning("recovery_deferred", extra=fields(detail=exc.detail or exc.message))
                await asyncio.sleep(RETRY_SECONDS)
        await self._sign()

    async def purge_daily(self) -> None:
        """Once a day, and at each start."""
        while True:
            await purge(self._billing.work)
            await asyncio.sleep(PURGE_SECONDS)

    async def purge_gate_changes_hourly(self) -> None:
        """Once an hour, and at each start."""
        while True:
            await purge_gate_changes(self._billing.work)
            await asyncio.sleep(CHANGES_KEPT_SECONDS)

    async def _check_account(self, check: AccountCheck) -> None:
        await check.run()
        self._check = None
        self._problems.pop("account", None)

    async def _sign(self) -> None:
        while True:
            try:
                await sign_customers(self._billing)
                return
            except UpstreamFailed as exc:
                log.warning("signing_deferred", extra=fields(detail=exc.detail or exc.message))
                await asyncio.sleep(RETRY_SECONDS)

    def _report_unchecked(self, exc: UpstreamFailed | TimeoutError) -> None:
        message = unanswered(
            exc if isinstance(exc, UpstreamFailed) else UpstreamFailed("Stripe did not answer in time.")
        )
        if self._problems.get("account") != message:
            log.warning("account_not_checked", extra=fields(detail=getattr(exc, "detail", "") or message))
        self._problems["account"] = message

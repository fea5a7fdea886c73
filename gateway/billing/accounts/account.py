"""The one Stripe account and mode that a store belongs to: with another's key every customer is "no such customer"."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.context import Billing
from gateway.billing.work.alerting import open_alert
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import ConfigError, UpstreamFailed
from gateway.log import fields
from gateway.store import customers, instance
from gateway.store.customers import Customer
from gateway.stripe.client import Stripe
from gateway.stripe.errors import AuthenticationFailed, PermissionDenied, StripeNotFound
from gateway.tiers.model import Concern

log = logging.getLogger(__name__)

ACCOUNT, MODE = "stripe_account", "stripe_mode"
MISMATCH = "account_mismatch"
_REMEDY = "put the right key back, or, to begin in that account, stop the server and run: skpay account move"


@dataclass(frozen=True, slots=True)
class Binding:
    """What the store is bound to. `account` '': unknown, as with a restricted key; `mode` '': not bound yet.

    `newest` is the customer recorded last, None in a store that has none that is not deleted.
    """

    account: str
    mode: str
    newest: Customer | None


def binding(conn: Connection) -> Binding:
    return Binding(instance.get(conn, ACCOUNT) or "", instance.get(conn, MODE) or "", customers.newest(conn))


def mode_of(livemode: bool) -> str:
    return "live" if livemode else "test"


class AccountCheck:
    """Compares the account of our key with the store: at start, retried until Stripe answers.

    The binding is the one found at start: a customer created since then with a wrong key proves nothing.
    """

    def __init__(self, billing: Billing, bound: Binding) -> None:
        self._billing = billing
        self._bound = bound
        billing.account.account_id = bound.account

    async def run(self) -> None:
        """Bind the store to the account of our key, or confirm that it is bound to it.

        Raises `ConfigError` for a key of another account or mode, or one that Stripe does not know; `UpstreamFailed`
        if Stripe does not answer: the result is still unknown then.
        """
        billing, bound = self._billing, self._bound
        mode = mode_of(billing.stripe.livemode)
        if bound.newest is not None and bound.mode not in ("", mode):
            raise ConfigError(
                [f"STRIPE_SECRET_KEY: is a {mode} key, the database is of the {bound.mode} mode; {_REMEDY}"]
            )
        await self._read_newest()
        account = await self._account()
        if bound.newest is not None and bound.account and account and bound.account != account:
            raise ConfigError(
                [f"STRIPE_SECRET_KEY: is of the account {account}, the database of {bound.account}; {_REMEDY}"]
            )
        await self._bind(account or bound.account, mode)

    async def _read_newest(self) -> None:
        newest = self._bound.newest
        if newest is None:
            return
        try:
            await self._billing.stripe.customers.get(newest.customer_id)
        except AuthenticationFailed as exc:
            raise ConfigError([f"STRIPE_SECRET_KEY: Stripe does not know this key; {_REMEDY}"]) from exc
        except StripeNotFound as exc:
            raise ConfigError(
                [
                    f"STRIPE_SECRET_KEY: is of another Stripe account than the database, whose newest customer"
                    f" {newest.customer_id} it cannot read; {_REMEDY}"
                ]
            ) from exc

    async def _account(self) -> str:
        """The account's id; '' for a restricted key, which may not read it."""
        try:
            return await self._billing.stripe.account_id()
        except PermissionDenied:
            return ""
        except AuthenticationFailed:
            if self._bound.newest is None:
                raise
            return ""

    async def _bind(self, account: str, mode: str) -> None:
        billing, before = self._billing, self._bound

        def job(tx: Transaction) -> None:
            instance.put(tx.conn, ACCOUNT, account)
            instance.put(tx.conn, MODE, mode)
            tx.resolve_alert(MISMATCH, "key")

        await billing.work.write(job)
        billing.account.account_id, billing.account.wrong = account, False
        if (before.account, before.mode) != (account, mode):
            log.info("account_bound", extra=fields(account=account, mode=mode))


async def refuse_wrong_account(work: UnitOfWork, account: StripeAccount, problem: str) -> None:
    """A mismatch found while serving: no tier is changed and nothing is created there until an operator corrects it."""
    account.wrong = True
    message = f"{problem}; until then nothing can be bought, and the next start is refused"
    await open_alert(work, MISMATCH, "key", message)


def event_concern(
    stripe: Stripe, ours: StripeAccount, event_id: str, livemode: bool, account_id: str
) -> Concern | None:
    """Why an event is not ours (another mode, or a Connect account); None if it is."""
    if livemode != stripe.livemode:
        mode = mode_of(livemode)
        message = f"{event_id} is a {mode} event, our key is not; check the endpoint and STRIPE_SECRET_KEY"
        return Concern("livemode_mismatch", mode, message)
    if account_id and account_id != ours.account_id:
        message = (
            f"{event_id} is of the account {account_id}, which is not ours; make the endpoint for your own account"
        )
        return Concern("account_mismatch", account_id, message)
    return None


def unanswered(exc: UpstreamFailed) -> str:
    """What /ready reports while the account of the key is unknown."""
    return f"not compared with the store yet: {exc.message}"

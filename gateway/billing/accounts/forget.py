"""Forgets a user everywhere, and purges old payloads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.billing.refresh.holdings import fetch_holdings
from gateway.billing.work.refusals import alert_refusals
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App
from gateway.errors import UpstreamFailed
from gateway.litellm import LiteLLM
from gateway.log import fields
from gateway.store import customers, entitlements, forgetting, gate_changes, keys, tombstones
from gateway.store.customers import Customer
from gateway.stripe.client import Stripe
from gateway.stripe.errors import StripeNotFound
from gateway.user_ids import check_user_id

log = logging.getLogger(__name__)

BODIES_KEPT_SECONDS = 35 * 86_400
"""Longer than the 30 days for which Stripe's API has an event, and than the 28 of a month's dispute about it."""
CHANGES_KEPT_SECONDS = 3600
"""A gate that has not followed for longer loads everything."""
PURGE_BATCH = 500
SESSIONS_LAST_SECONDS = 3600
"""A login of a forgotten user may stay valid for this long; using it does not recreate the user."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What exists of one user, by kind."""

    subscriptions: tuple[str, ...]
    customers: tuple[str, ...]
    litellm: tuple[tuple[str, str], ...]
    keys: int


async def traces(billing: Billing, app_id: str, user_id: str) -> Traces:
    """What forgetting this user would cancel and delete. Changes nothing. Raises `NotFound` (app), `UpstreamFailed`."""
    app = billing.apps.app(app_id)
    check_user_id(user_id)
    known = await billing.work.read(lambda conn: customers.of_user(conn, app_id, user_id))
    running = await _running(billing, known)
    own_ids, live = await billing.work.read(lambda conn: (_own_litellm_ids(conn, app, user_id), keys.live(conn)))
    own_keys = [key for key in live if (key.app_id, key.user_id) == (app_id, user_id)]
    return Traces(tuple(running), tuple(each.customer_id for each in known), tuple(own_ids.items()), len(own_keys))


async def forget(billing: Billing, app_id: str, user_id: str) -> Traces:
    """Cancel the user's subscriptions, delete the user at Stripe, here and in LiteLLM, and leave a tombstone.

    The order makes it repeatable after a failure: nothing is removed here while Stripe could still charge, and the ids
    at LiteLLM are kept until it has deleted them. Raises `NotFound` (app), `UpstreamFailed`.
    """
    app = billing.apps.app(app_id)
    check_user_id(user_id)
    subject = f"{app_id}/{user_id}"
    async with billing.locks.of(app_id, user_id), alert_refusals(billing.work, "users_delete_refused", subject):
        found = await traces(billing, app_id, user_id)
        for subscription_id in found.subscriptions:
            await _cancel(billing.stripe, subscription_id)
        for customer_id in found.customers:
            await _delete_customer(billing.stripe, customer_id)
        await billing.work.write(lambda tx: _remove(tx, app, user_id))
        await _delete_in_litellm(billing.litellm, dict(found.litellm))
        await billing.work.store.write(lambda conn: forgetting.remove_litellm_ids(conn, app_id, user_id))
    log.info("user_forgotten", extra=fields(app_id=app_id, customers=len(found.customers)))
    return found


async def _running(billing: Billing, known: list[Customer]) -> list[str]:
    subscriptions = (await fetch_holdings(billing, known)).subscriptions
    return [each.subscription_id for each in subscriptions if not each.has_ended]


async def _cancel(stripe: Stripe, subscription_id: str) -> None:
    with suppress(StripeNotFound):  # canceled in this moment
        await stripe.subscriptions.cancel(subscription_id)


async def _delete_customer(stripe: Stripe, customer_id: str) -> None:
    try:
        await stripe.customers.delete(customer_id)
    except StripeNotFound:
        # Deleted already? With a wrong key this raises.
        if not await stripe.customers.is_deleted(customer_id):
            raise


def _remove(tx: Transaction, app: App, user_id: str) -> None:
    """Remove the user, and resolve the alerts that only another refresh of the user would resolve."""
    conn, now = tx.conn, tx.now
    stored = entitlements.get(conn, app.app_id, user_id)
    concerns = stored.entitlement.concerns if stored else ()
    for customer_id in customers.ids_of_user(conn, app.app_id, user_id):
        tombstones.put_customer(conn, customer_id, now)
    tombstones.put_user(conn, app.app_id, user_id, now)
    forgetting.remove_user(conn, app.app_id, user_id)
    tx.resolve_alerts((each.kind, each.subject) for each in concerns)


def _own_litellm_ids(conn: Connection, app: App, user_id: str) -> dict[str, str]:
    """Mode → the user's id at LiteLLM; without ids that several apps share."""
    if app.litellm is not None and app.litellm.shared_users:
        return {}
    return dict(forgetting.litellm_ids_of(conn, app.app_id, user_id))


async def _delete_in_litellm(litellm: LiteLLM | None, own_ids: Mapping[str, str]) -> None:
    if own_ids and litellm is None:
        raise UpstreamFailed("LITELLM_URL is not set, but LiteLLM has this user.", retryable=False)
    for mode, own_id in own_ids.items():
        if litellm is not None:
            await litellm.delete_user(mode, own_id)


async def purge(work: UnitOfWork) -> int:
    """Empty the bodies of old events and remove old delivered notices; returns how many rows were examined."""
    before, examined = work.now() - BODIES_KEPT_SECONDS, 0
    after: tuple[int, str] | None = (0, "")
    while after is not None:
        after = await work.store.write(
            partial(forgetting.empty_events, received_before=before, after=after, limit=PURGE_BATCH)
        )
        examined += PURGE_BATCH if after is not None else 0
    while removed := await work.store.write(lambda conn: forgetting.remove_done_notices(conn, before, PURGE_BATCH)):
        examined += removed
    return examined


async def purge_gate_changes(work: UnitOfWork) -> int:
    """Remove old rows of the gate's change log, which name users, also deleted ones; returns how many."""
    before, removed = work.now() - CHANGES_KEPT_SECONDS, 0
    while count := await work.store.write(partial(gate_changes.purge, before=before, limit=PURGE_BATCH)):
        removed += count
    return removed

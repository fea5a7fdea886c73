"""Fetches everything that Stripe has of one user. Tiers are decided from this, never from event payloads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.price_book import PriceBook
from gateway.billing.refresh.disputes import DisputeAnswer
from gateway.log import fields
from gateway.store.customers import Customer
from gateway.stripe.client import Stripe
from gateway.stripe.errors import AuthenticationFailed, PermissionDenied, StripeNotFound, UnknownPath
from gateway.tiers.candidates import needs_invoices
from gateway.tiers.model import RUNNING_STATUSES, Invoice, Subscription

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything of one user at Stripe. `deleted_customers` are those that Stripe reports as `deleted: true`,
    `living_customers` all others.

    `disputes` are the current states of the disputes, refunds and fraud warnings that were open.
    """

    subscriptions: tuple[Subscription, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    deleted_customers: tuple[str, ...] = ()
    disputes: tuple[DisputeAnswer, ...] = ()
    living_customers: tuple[str, ...] = ()


async def fetch_holdings(billing: Billing, known_customers: Sequence[Customer]) -> Holdings:
    """Every subscription of these customers of one user, with invoices where they decide. Raises `UpstreamFailed`.

    Where several subscriptions run at once, their invoices show what to refund.
    """
    subscriptions: list[Subscription] = []
    deleted: list[str] = []
    for customer in known_customers:
        try:
            listed = await billing.stripe.subscriptions.of_customer(customer.customer_id, with_ended=True)
        except StripeNotFound:
            # Lists may answer so for a deleted customer. With a wrong key this raises.
            if not await billing.stripe.customers.is_deleted(customer.customer_id):
                raise
            deleted.append(customer.customer_id)
            continue
        subscriptions += listed
        # A deleted customer's list may be empty, which is not the same as a subscription that has vanished.
        if not listed and await billing.stripe.customers.is_deleted(customer.customer_id):
            deleted.append(customer.customer_id)
    subscriptions = [await _with_schedule(billing.stripe, each) for each in subscriptions]
    running = [each for each in subscriptions if each.status in RUNNING_STATUSES]
    invoices: list[Invoice] = []
    for subscription in subscriptions:
        if _is_unclear(billing.apps, billing.prices, known_customers, subscription) or (
            subscription in running and len(running) > 1
        ):
            invoices += await billing.stripe.invoices.of_subscription(subscription.subscription_id)
    living = tuple(each.customer_id for each in known_customers if each.customer_id not in deleted)
    return Holdings(tuple(subscriptions), tuple(invoices), tuple(deleted), living_customers=living)


def _is_unclear(
    apps: InstalledApps, prices: PriceBook, known_customers: Sequence[Customer], subscription: Subscription
) -> bool:
    """Whether the tier of this subscription depends on its invoices."""
    app = next((apps.catalog.app(each.app_id) for each in known_customers), None)
    return app is not None and needs_invoices(app, subscription, prices.known_tiers(app.app_id))


async def _with_schedule(stripe: Stripe, subscription: Subscription) -> Subscription:
    """With its schedule. That is only about future changes, so a refusal to read it is logged and ignored."""
    if subscription.schedule_id is None or subscription.status not in RUNNING_STATUSES:
        return subscription
    try:
        schedule = await stripe.subscriptions.schedule(subscription.schedule_id)
    except (AuthenticationFailed, PermissionDenied, StripeNotFound, UnknownPath) as exc:
        log.warning("schedule_unreadable", extra=fields(schedule_id=subscription.schedule_id, detail=exc.detail))
        return subscription
    return replace(subscription, schedule=schedule)

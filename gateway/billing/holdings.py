"""What Stripe holds of one user now, asked of its API: the only thing a tier is ever decided from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.billing.contested import Answer
from gateway.billing.context import Billing
from gateway.billing.customer import is_deleted
from gateway.store.customers import Customer
from gateway.stripe.client import StripeError, StripeObject
from gateway.tiers import shapes
from gateway.tiers.model import RUNNING, Invoice, Subscription


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything of one user at Stripe. `deleted_customers` are those of which Stripe said `deleted: true`, the
    `living_customers` all others that were asked about.

    `contested` is what Stripe says now of the disputes, refunds and fraud warnings that were not over.
    """

    subscriptions: tuple[Subscription, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    deleted_customers: tuple[str, ...] = ()
    contested: tuple[Answer, ...] = ()
    living_customers: tuple[str, ...] = ()


async def fetch_holdings(billing: Billing, known_customers: Sequence[Customer]) -> Holdings:
    """Every subscription of these customers, and the invoices that grace is counted from. Raises `UpstreamFailed`.

    Where several run at once, also the invoices that say what is to be refunded.
    """
    subscriptions: list[Subscription] = []
    invoices: list[Invoice] = []
    deleted: list[str] = []
    for customer in known_customers:
        query = {"customer": customer.customer_id, "status": "all"}
        try:
            async for raw in billing.stripe.each("/v1/subscriptions", query):
                subscriptions.append(shapes.subscription(await _with_every_item(billing, raw)))
        except StripeError as exc:
            # Whatever list calls say of a deleted customer; a wrong key's "no such customer" is raised by the question.
            if exc.stripe_code != "resource_missing" or not await is_deleted(billing, customer.customer_id):
                raise
            deleted.append(customer.customer_id)
    running = [each for each in subscriptions if each.status in RUNNING]
    for subscription in running:
        if subscription.status == "past_due" or len(running) > 1:
            query = {"subscription": subscription.subscription_id}
            invoices += [shapes.invoice(raw) async for raw in billing.stripe.each("/v1/invoices", query)]
    living = tuple(each.customer_id for each in known_customers if each.customer_id not in deleted)
    return Holdings(tuple(subscriptions), tuple(invoices), tuple(deleted), living_customers=living)


async def _with_every_item(billing: Billing, raw: StripeObject) -> StripeObject:
    """A list inside an object holds its first page only; the tier may be behind it."""
    items = raw.get("items")
    if not isinstance(items, dict) or not items.get("has_more"):
        return raw
    query = {"subscription": raw.get("id")}
    data = [item async for item in billing.stripe.each("/v1/subscription_items", query)]
    return {**raw, "items": {**items, "data": data, "has_more": False}}

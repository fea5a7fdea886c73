"""The Stripe portal: a configuration for each app, so that it shows only that app's plans, and links into it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from sqlalchemy import Connection

from gateway.billing.checkout.customer import mark_deleted
from gateway.billing.checkout.prices import resolve
from gateway.billing.context import Billing
from gateway.billing.work.refusals import alert_refusals_to_buyer
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App
from gateway.errors import Conflict, NotFound, UpstreamFailed
from gateway.store import customers, entitlements, instance
from gateway.stripe.client import Stripe
from gateway.stripe.errors import InvalidRequest, StripeError, StripeNotFound, UnknownPath
from gateway.stripe.idempotency import create_once
from gateway.stripe.portal import MAX_PRODUCTS, PlanChange, PortalConfiguration, is_configuration_unusable
from gateway.stripe.prices import ResolvedPrice
from gateway.tiers.model import Subscription


async def open_portal(billing: Billing, app: App, user_id: str) -> str:
    """The portal for a user. Raises as `portal_url`; a refusal opens an alert."""
    async with alert_refusals_to_buyer(billing.work, "portal_refused", f"{app.app_id}/{user_id}"):
        return await portal_url(billing, app, user_id)


async def portal_url(
    billing: Billing,
    app: App,
    user_id: str,
    *,
    change: PlanChange | None = None,
    customer_id: str | None = None,
    success_url: str | None = None,
) -> str:
    """A short-lived URL of the portal; never logged. Raises `NotFound` (`no_customer`) before the first checkout.

    `customer_id` selects one of several customers of the user; None: the one that the tier comes from.
    `success_url` is where Stripe redirects after `change` is confirmed; None: the one in apps.json.
    """
    owner = customer_id or await _customer(billing.work, app, user_id)

    async def session(*, recreate: bool) -> str:
        configuration_id = await _configuration(billing, app, recreate=recreate)
        return await billing.stripe.portal.create_session(
            owner, configuration_id, app.cancel_url, change=change, changed_url=success_url or app.success_url
        )

    try:
        return await session(recreate=False)
    except StripeError as exc:
        if is_configuration_unusable(exc):
            return await session(recreate=True)
        may_be_deleted = isinstance(exc, InvalidRequest | StripeNotFound | UnknownPath)
        if not may_be_deleted or not await billing.stripe.customers.is_deleted(owner):
            raise
    await mark_deleted(billing.work, owner)
    return await portal_url(billing, app, user_id)


async def _customer(work: UnitOfWork, app: App, user_id: str) -> str:
    known = await work.read(lambda conn: customers.of_user(conn, app.app_id, user_id))
    if not known:
        raise NotFound("This user has never been to a checkout.", code="no_customer")
    stored = await work.read(lambda conn: entitlements.get(conn, app.app_id, user_id))
    paying = stored.entitlement.customer_id if stored else None
    return next((each.customer_id for each in known if each.customer_id == paying), known[0].customer_id)


def change_to(subscription: Subscription, price_id: str) -> PlanChange | None:
    """The change of plan that the portal can confirm in one step; None: the user changes it in the whole portal.

    Stripe confirms changes only of active or trialing subscriptions with one item.
    """
    if subscription.status not in ("active", "trialing") or len(subscription.items) != 1:
        return None
    item = subscription.items[0]
    if item.price_id == price_id or subscription.schedule_id is not None:
        return None
    return PlanChange(subscription.subscription_id, item.item_id, price_id)


def kept_configuration(conn: Connection, app_id: str) -> tuple[str, str]:
    """(id, digest) of the portal configuration that was written last for an app; '' if none was."""
    kept_id, _, digest = (instance.get(conn, _key(app_id)) or "").partition(" ")
    return kept_id, digest


async def push_configurations(billing: Billing) -> dict[str, str]:
    """Write the portal configuration of each app that sells anything, changed or not; app id → its id at Stripe.

    Raises `UpstreamFailed`.
    """
    selling = [app for app in billing.apps.catalog.apps.values() if any(tier.for_sale for tier in app.tiers)]
    return {app.app_id: await _configuration(billing, app, recreate=False, unchanged_too=True) for app in selling}


def _key(app_id: str) -> str:
    return f"portal:{app_id}"


async def _configuration(billing: Billing, app: App, *, recreate: bool, unchanged_too: bool = False) -> str:
    """The id of this app's portal configuration, created or updated at Stripe if its content has changed."""
    # "" is no valid user id: one lock for all users of the app, or two requests at once would create two.
    async with billing.locks.of(app.app_id, ""):
        expected = configuration(app, await _offered(billing, app))
        digest = expected.digest
        kept_id, kept_digest = await billing.work.read(lambda conn: kept_configuration(conn, app.app_id))
        if kept_id and kept_digest == digest and not recreate and not unchanged_too:
            return kept_id
        # The key includes the former id, so that a replacement does not get the replayed answer with that id.
        key_parts = ("portal configuration", app.app_id, digest, kept_id)
        made_id = await _write(billing.stripe, "" if recreate else kept_id, expected, key_parts)

        def keep(conn: Connection) -> None:
            instance.put(conn, _key(app.app_id), f"{made_id} {digest}")

        await billing.work.store.write(keep)
        return made_id


async def _offered(billing: Billing, app: App) -> list[ResolvedPrice]:
    """The prices for sale that Stripe has. A missing price has its alert and is left out, so that the portal opens."""
    found: list[ResolvedPrice] = []
    for tier in app.tiers:
        for price in tier.prices if tier.for_sale else ():
            with suppress(Conflict):
                found.append(await resolve(billing, app, tier, price))
    return found


async def _write(stripe: Stripe, kept_id: str, expected: PortalConfiguration, key_parts: tuple[str, ...]) -> str:
    portal = stripe.portal
    if kept_id and await portal.update_configuration(kept_id, expected):
        return kept_id
    return await create_once(partial(portal.create_configuration, expected), key_parts, _no_leftover)


async def _no_leftover() -> str | None:
    """An unused configuration does no harm."""
    return None


def configuration(app: App, offered: list[ResolvedPrice]) -> PortalConfiguration:
    """What this app's portal offers. Pure.

    Raises `UpstreamFailed` where an app sells more products than the portal can show.
    """
    products: dict[str, list[str]] = {}
    for price in offered:
        products.setdefault(price.product_id, []).append(price.price_id)
    if len(products) > MAX_PRODUCTS:
        raise UpstreamFailed(
            "Stripe's portal cannot show all plans.",
            code="too_many_products",
            retryable=False,
            detail=f"Stripe's portal shows {MAX_PRODUCTS} products at most, {app.app_id} sells {len(products)}; make "
            "the prices of a tier prices of one product, or stop selling some",
        )
    return PortalConfiguration(app.app_id, app.cancel_url, products)

"""Stripe: keys, mode, rights, prices, the webhook endpoint and its deliveries, each app's portal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gateway.billing.checkout.portal import configuration
from gateway.billing.checkout.prices import differences, price_at_stripe, price_name
from gateway.catalog.model import App, Price, Tier
from gateway.doctor.context import CheckContext, run_check
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.settings import STRIPE_API_BASE
from gateway.stripe.client import Stripe
from gateway.stripe.errors import AuthenticationFailed, StripeNotFound
from gateway.stripe.event_types import NEEDED, USEFUL
from gateway.stripe.transport import API_VERSION, Transport
from gateway.stripe.webhook_endpoints import WebhookEndpoint

KEY, RIGHTS, PRICES, ENDPOINT = "stripe key", "stripe rights", "stripe prices", "webhook endpoint"
DELIVERIES, PORTAL = "webhook deliveries", "stripe portal"
_AT_ONCE = 8
_UNDELIVERED_SECONDS = (300, 24 * 3600)
"""Newer events may still be in delivery; about older ones Stripe has sent mail."""


async def examine_stripe(context: CheckContext) -> list[Finding]:
    """With an invalid key nothing else can be checked."""
    found = await _key(context)
    if any(finding.state == "bad" for finding in found):
        return found
    more = ((RIGHTS, _rights), (PRICES, _prices), (PORTAL, _portals), (ENDPOINT, _endpoints), (DELIVERIES, _deliveries))
    for answer in await asyncio.gather(*(run_check(context, subject, check) for subject, check in more)):
        found += answer
    return found


async def _key(context: CheckContext) -> list[Finding]:
    settings, stripe = context.settings, context.stripe
    mode = "live" if stripe.livemode else "test"
    for number, key in enumerate(settings.stripe_secret_key):
        try:
            alone = Transport(context.session, (key,), api_base=settings.stripe_api_base, attempts=1)
            await Stripe(alone).permissions.check_key()
        except AuthenticationFailed:
            if number:
                return [warning(KEY, "the older of the two keys is no longer valid", "take it out and restart")]
            remedy = "Stripe's Dashboard > Developers > API keys: put the key into STRIPE_SECRET_KEY and restart"
            return [bad(KEY, "Stripe does not know it", remedy)]
    report = context.server_report
    if isinstance(report, dict) and (report["wrong_account"] or report["mode"] not in ("", report["key_mode"])):
        return [bad(KEY, f"is of another account or mode than the database ({report['mode']})", "skpay account show")]
    at = "" if settings.stripe_api_base == STRIPE_API_BASE else f", at {settings.stripe_api_base}"
    account = f", {report['account']}" if isinstance(report, dict) and report["account"] else ""
    return [ok(KEY, f"{mode} mode{account}{at}")]


async def _rights(context: CheckContext) -> list[Finding]:
    names = await context.stripe.permissions.missing_to_read()
    if names:
        remedy = "Stripe's Dashboard > Developers > API keys > the restricted key: allow these (SOP.md, step 2)"
        return [bad(RIGHTS, f"the key may not read {', '.join(names)}", remedy)]
    return [ok(RIGHTS, "the key may read everything it needs")]


async def _prices(context: CheckContext) -> list[Finding]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def turn(app: App, tier: Tier, price: Price) -> Finding | None:
        async with turns:
            return await _price(context.stripe, app, tier, price)

    listed = context.catalog.prices()
    wrong = [finding for finding in await asyncio.gather(*(turn(*each) for each in listed)) if finding is not None]
    return wrong or [ok(PRICES, f"{len(listed)}, as apps.json has them" if listed else "apps.json has none")]


async def _price(stripe: Stripe, app: App, tier: Tier, price: Price) -> Finding | None:
    name = price_name(app, tier, price)
    found = await price_at_stripe(stripe, price)
    if found is None:
        way = "with this lookup key" if price.lookup_key else "of this id"
        return bad(PRICES, f"{name}: Stripe has no active price", f"make one {way} in Stripe, or fix apps.json")
    if found.interval is None:
        return bad(PRICES, f"{name}: is paid once, so it makes no subscription", "make a recurring price in Stripe")
    lines = differences(price, found)
    if lines:
        return warning(PRICES, f"{name}: {'; '.join(lines)}", "Stripe's is charged: fix apps.json, or move the key")
    return None


async def _endpoints(context: CheckContext) -> list[Finding]:
    url = f"{context.settings.public_url}/webhook/stripe"
    found = await context.stripe.webhook_endpoints.list_all()
    ours = [each for each in found if each.url == url] or await context.stripe.webhook_endpoints.destinations(url)
    enabled = [each for each in ours if each.enabled]
    if not ours:
        return [_no_endpoint(url, found)]
    if not enabled:
        return [bad(ENDPOINT, "is disabled", "enable it in Stripe's Dashboard > Developers > Webhooks")]
    events = {event for each in enabled for event in each.event_types}
    wrong = list(_endpoint(enabled[0], events))
    if len(enabled) > 1:
        wrong.append(warning(ENDPOINT, f"there are {len(enabled)} with our URL, each event comes as often", "keep one"))
    return wrong or [ok(ENDPOINT, "enabled, with every event")]


def _no_endpoint(url: str, found: list[WebhookEndpoint]) -> Finding:
    """An endpoint with a similar URL is more likely a mistake than another program's."""
    host = urlsplit(url).hostname
    alike = next((each.url for each in found if urlsplit(each.url).hostname == host), None)
    if alike is not None:
        return bad(ENDPOINT, f"calls {alike}, which is not our URL", f"change it in Stripe's Dashboard to {url}")
    remedy = f"add one in Stripe's Dashboard > Developers > Webhooks: {url}"
    return bad(ENDPOINT, "Stripe has no endpoint with our URL", remedy)


def _endpoint(endpoint: WebhookEndpoint, events: set[str]) -> Iterator[Finding]:
    remedy = "add these events to it in Stripe's Dashboard (SOP.md, step 2)"
    for names, finding in ((NEEDED, bad), (USEFUL, warning)):
        lacking = [] if "*" in events else [event for event in names if event not in events]
        if lacking:
            yield finding(ENDPOINT, f"misses {', '.join(lacking)}", remedy)
    version = endpoint.api_version
    if version != API_VERSION:
        message = f"its events are of the API version {version or 'of the account'}"
        yield warning(ENDPOINT, message, f"make a new endpoint with {API_VERSION}, then delete this one")


async def _deliveries(context: CheckContext) -> list[Finding]:
    """Events that Stripe could not deliver today: nothing else shows a wrong STRIPE_WEBHOOK_SECRET.

    Only since the server's start: it reads earlier ones by itself.
    """
    now, (youngest, oldest) = int(time.time()), _UNDELIVERED_SECONDS
    since = now - oldest
    if isinstance(context.server_report, Mapping):
        since = max(since, int(context.server_report["started_at"]))
    if since > now - youngest:
        return [ok(DELIVERIES, "the server started a moment ago; what came before, it reads by itself")]
    undelivered, more = await context.stripe.events.undelivered(since, now - youngest)
    if undelivered:
        count = f"{undelivered}{' or more' if more else ''}"
        remedy = "see the endpoint in Stripe's Dashboard: 400 is a wrong STRIPE_WEBHOOK_SECRET, 3xx a wrong URL"
        return [warning(DELIVERIES, f"{count} events of the last day were not accepted by an endpoint", remedy)]
    return [ok(DELIVERIES, "none of the last day is waiting")]


async def _portals(context: CheckContext) -> list[Finding]:
    report = context.server_report
    if not isinstance(report, dict):
        return [not_checked(PORTAL, "the server did not say which is its own")]
    selling = [app for app in context.catalog.apps.values() if any(tier.for_sale for tier in app.tiers)]
    return [
        finding
        for app in selling
        for finding in await _portal(context, app, *report["portals"].get(app.app_id, ("", "")))
    ]


async def _portal(context: CheckContext, app: App, kept_id: str, digest: str) -> list[Finding]:
    """Stripe's defaults give upgrades away (T17): the portal must be as SKPayments wrote it."""
    subject = f"{PORTAL} {app.app_id}"
    if not kept_id:
        return [ok(subject, "not made yet: the first visit makes it")]
    prices = [price for tier in app.tiers if tier.for_sale for price in tier.prices]
    offered = [
        found for found in [await price_at_stripe(context.stripe, price) for price in prices] if found is not None
    ]
    expected = configuration(app, offered)
    if expected.digest != digest:
        return [ok(subject, "is brought up to date at the next visit")]
    try:
        lines = await context.stripe.portal.differences(kept_id, expected)
    except StripeNotFound:
        return [ok(subject, "is gone at Stripe: the next visit makes another")]
    if lines:
        return [bad(subject, f"was changed at Stripe: {'; '.join(lines)}", "skpay portal push")]
    return [ok(subject, "as it was written: changes are paid at once, downgrades wait")]

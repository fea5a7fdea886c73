"""The outbox to LiteLLM: each wish is written, read back, and repeated until LiteLLM holds it or refuses for good."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from sqlalchemy import Connection

from gateway.billing.alerting import open_alert, resolve_alert
from gateway.billing.backoff import backoff_seconds
from gateway.billing.context import Billing
from gateway.catalog.model import App, Tier
from gateway.errors import Conflict, InvalidInput, SkpayError, StoreUnavailable, UpstreamFailed
from gateway.litellm import LiteLLM, Provisioned, check_litellm_id
from gateway.log import fields
from gateway.store import entitlements, litellm_ids, outbox
from gateway.store.outbox import Wish

log = logging.getLogger(__name__)

KIND = "litellm"
FAILURES_UNTIL_ALERT = 5
BUGS_UNTIL_DEAD = 10
RENEW_PAGE = 500


def litellm_id(app: App, user_id: str) -> str:
    """The id under which LiteLLM knows this user of `app`."""
    template = app.litellm.user_id if app.litellm else "{user_id}"
    return template.replace("{app_id}", app.app_id).replace("{user_id}", user_id)


async def provision(billing: Billing, wish: Wish) -> None:
    """Carry out one wish. Repeating it changes nothing; it ends done, put off, or dead with an alert."""
    subject = f"{wish.app_id}/{wish.user_id}"
    try:
        provisioned = await _provision(billing, wish)
    except StoreUnavailable:
        raise
    except Exception as exc:  # a bug too: this wish waits, the others go on
        await _failed(billing, wish, subject, exc)
        return
    if provisioned is None:  # the app is gone, or has no LiteLLM any more
        await billing.store.write(lambda conn: outbox.done(conn, wish.wish_id, wish.version, {}, billing.now()))
        return
    answer = {"answer": provisioned.answer, "differences": list(provisioned.differences)}
    await billing.store.write(lambda conn: outbox.done(conn, wish.wish_id, wish.version, answer, billing.now()))
    log.info("user_provisioned", extra=fields(app_id=wish.app_id, user_id=wish.user_id, answer=provisioned.answer))
    if not provisioned.matches:
        message = f"LiteLLM holds other limits than the tier's: {'; '.join(provisioned.differences)}"
        await open_alert(billing, "litellm_differs", subject, message)
    if wish.attempts >= FAILURES_UNTIL_ALERT:
        await resolve_alert(billing, "litellm_failing", subject)


async def _provision(billing: Billing, wish: Wish) -> Provisioned | None:
    app = billing.catalog.app(wish.app_id)
    if app is None or app.litellm is None:
        return None
    if billing.litellm is None:
        raise InvalidInput("LITELLM_URL is not set, but the app has litellm limits.")
    tier = await current_tier(billing, app, wish.user_id)
    own_id = litellm_id(app, wish.user_id)
    check_litellm_id(own_id)
    mode = app.litellm.mode
    owner = await billing.store.write(
        lambda conn: litellm_ids.claim(conn, mode, own_id, wish.app_id, wish.user_id, billing.now())
    )
    shared = app.litellm.shared_users and owner.user_id == wish.user_id
    if (owner.app_id, owner.user_id) != (wish.app_id, wish.user_id) and not shared:
        raise Conflict(f"LiteLLM's {own_id!r} already belongs to {owner.app_id}/{owner.user_id}")
    return await _write(billing, billing.litellm, app, tier, own_id)


async def current_tier(billing: Billing, app: App, user_id: str) -> Tier:
    """The tier to provision is read when it is written: a wish that waited long never brings an old tier back."""
    stored = await billing.store.read(lambda conn: entitlements.get(conn, app.app_id, user_id))
    return (app.tier(stored.entitlement.tier) if stored else None) or app.default_tier


async def _write(billing: Billing, litellm: LiteLLM, app: App, tier: Tier, own_id: str) -> Provisioned:
    mode = app.litellm.mode if app.litellm else ""
    if mode == "customer":
        # No id has a dot in it: app "a-b" with tier "c" must not share a budget with app "a" and tier "b-c".
        provisioned = await litellm.provision_customer(own_id, f"{app.app_id}.{tier.tier_id}", tier.limits)
    else:
        last = await billing.store.read(lambda conn: litellm_ids.get(conn, mode, own_id))
        provisioned = await litellm.provision_internal_user(
            own_id,
            tier.limits,
            previous_budget_duration=last.budget_duration if last else None,
            metadata={"skpay_app": app.app_id, "skpay_tier": tier.tier_id},
        )
    digest, duration = limits_digest(app, tier), tier.limits.budget_duration

    def remember(conn: Connection) -> None:
        litellm_ids.provisioned(conn, mode, own_id, digest, duration, billing.now())

    await billing.store.write(remember)
    return provisioned


def limits_digest(app: App, tier: Tier) -> str:
    """Changes with whatever LiteLLM is told for this tier, so that an edit of apps.json can be told from none."""
    told = [app.app_id, tier.tier_id, asdict(app.litellm) if app.litellm else None, asdict(tier.limits)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


async def renew_limits(billing: Billing) -> int:
    """Wish anew for every user whom LiteLLM was told other limits than their tier has now; how many.

    Run at start and after an edit of apps.json. Repeating it while wishes wait makes them no more.
    """
    renewed = 0
    for app in billing.catalog.apps.values():
        if app.litellm is None:
            continue
        digests = {tier.tier_id: limits_digest(app, tier) for tier in app.tiers}
        after = ""
        while page := await billing.store.read(partial(litellm_ids.of_app, **_page(app, after))):
            after = page[-1].litellm_id
            stale = [each.user_id for each in page if each.digest != digests[_tier_id(app, each.tier)]]
            if stale:
                await billing.store.write(partial(_wish_for, app_id=app.app_id, user_ids=stale, now=billing.now()))
                renewed += len(stale)
                billing.wish_made.set()
    return renewed


def _page(app: App, after: str) -> dict[str, Any]:
    return {"app_id": app.app_id, "mode": app.litellm.mode if app.litellm else "", "after": after, "limit": RENEW_PAGE}


def _tier_id(app: App, stored: str | None) -> str:
    tier = app.tier(stored) if stored else None
    return (tier or app.default_tier).tier_id


def _wish_for(conn: Connection, *, app_id: str, user_ids: Sequence[str], now: int) -> None:
    for user_id in user_ids:
        outbox.put(conn, KIND, app_id, user_id, {}, now)


async def _failed(billing: Billing, wish: Wish, subject: str, exc: Exception) -> None:
    attempts = wish.attempts + 1
    detail = exc.detail or exc.message if isinstance(exc, SkpayError) else type(exc).__name__
    refused = isinstance(exc, SkpayError) and not (isinstance(exc, UpstreamFailed) and exc.retryable)
    for_good = refused or (not isinstance(exc, SkpayError) and attempts >= BUGS_UNTIL_DEAD)
    retry_at = billing.now() + backoff_seconds(attempts)

    def job(conn: Connection) -> None:
        if for_good:
            outbox.dead(conn, wish.wish_id, wish.version, detail, billing.now())
        else:
            outbox.retry(conn, wish.wish_id, wish.version, retry_at, detail)

    await billing.store.write(job)
    log.warning(
        "provisioning_put_off",
        extra=fields(app_id=wish.app_id, user_id=wish.user_id, attempts=attempts, detail=detail),
        exc_info=None if isinstance(exc, SkpayError) else exc,
    )
    if for_good:
        await open_alert(billing, "litellm_refused", subject, f"limits were not set and are not tried again: {detail}")
    elif attempts >= FAILURES_UNTIL_ALERT:
        await open_alert(billing, "litellm_failing", subject, f"limits are not set yet: {detail}")

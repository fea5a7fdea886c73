"""Provisioning jobs: each is written, read back, and repeated until LiteLLM holds it or refuses for good."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.retry import PROVISION, classify, describe, next_step, traceback_of
from gateway.billing.work.transaction import Loop, Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Catalog, Tier
from gateway.errors import Conflict, InvalidInput, StoreUnavailable
from gateway.litellm import LiteLLM, Provisioned, check_litellm_id, enforceable_limits
from gateway.log import fields
from gateway.store import entitlements, litellm_ids, provisioning
from gateway.store.litellm_ids import Owner
from gateway.store.provisioning import ProvisioningJob

log = logging.getLogger(__name__)

RENEW_PAGE = 500
MODES = ("customer", "internal_user")


def budget_id(app: App, tier: Tier) -> str:
    """The id of the budget that all customers of a tier share."""
    # No id has a dot in it: app "a-b" with tier "c" must not share a budget with app "a" and tier "b-c".
    return f"{app.app_id}.{tier.tier_id}"


@dataclass(frozen=True, slots=True)
class _WriteResult:
    """What was written to LiteLLM for which id, and the result."""

    mode: str
    litellm_id: str
    digest: str
    budget_duration: str
    provisioned: Provisioned


async def provision(billing: Billing, job: ProvisioningJob) -> None:
    """Carry out one provisioning job. Idempotent. It ends done, waiting for a retry, or dead with an alert."""
    subject = f"{job.app_id}/{job.user_id}"
    try:
        result = await _provision(billing, job)
    except StoreUnavailable:
        raise
    except Exception as exc:  # also an internal error: the other jobs are carried out all the same
        await _failed(billing.work, job, subject, exc)
        return
    if result is None:  # the app was removed, or has no `litellm` any more
        await billing.work.store.write(
            lambda conn: provisioning.done(conn, job.job_id, job.version, {}, billing.work.now())
        )
        return
    await billing.work.write(lambda tx: _record(tx, job, subject, result))
    log.info("user_provisioned", extra=fields(app_id=job.app_id, user_id=job.user_id, answer=result.provisioned.answer))


def _record(tx: Transaction, job: ProvisioningJob, subject: str, result: _WriteResult) -> None:
    """Finish the job. Without a match no digest is stored, so that the next start retries."""
    provisioned = result.provisioned
    digest = result.digest if provisioned.matches else ""
    litellm_ids.provisioned(tx.conn, result.mode, result.litellm_id, digest, result.budget_duration, tx.now)
    answer = {"answer": provisioned.answer, "differences": list(provisioned.differences)}
    provisioning.done(tx.conn, job.job_id, job.version, answer, tx.now)
    tx.resolve_alerts([("litellm_failing", subject), ("litellm_refused", subject)])
    if provisioned.matches:
        tx.resolve_alert("litellm_differs", subject)
    else:
        message = f"LiteLLM holds other limits than the tier's: {'; '.join(provisioned.differences)}"
        tx.open_alert("litellm_differs", subject, message)


async def _provision(billing: Billing, job: ProvisioningJob) -> _WriteResult | None:
    app = billing.apps.catalog.app(job.app_id)
    if app is None or app.litellm is None:
        return None
    if billing.litellm is None:
        raise InvalidInput("LITELLM_URL is not set, but the app has litellm limits.")
    tier = await current_tier(billing.work, app, job.user_id)
    own_id = app.litellm_id(job.user_id)
    check_litellm_id(own_id)
    mode = app.litellm.mode
    owner = await billing.work.store.write(
        lambda conn: litellm_ids.reserve(conn, mode, own_id, job.app_id, job.user_id, billing.work.now())
    )
    if not _may_write(app, job.user_id, owner):
        raise Conflict(f"LiteLLM's {own_id!r} already belongs to {owner.app_id}/{owner.user_id}")
    provisioned = await _write(billing.work, billing.litellm, app, tier, own_id)
    return _WriteResult(mode, own_id, limits_digest(app, tier), tier.limits.budget_duration, provisioned)


def _may_write(app: App, user_id: str, owner: Owner) -> bool:
    """Whether this user of `app` may write the limits of the LiteLLM id that `owner` reserved (T2)."""
    shared = app.litellm is not None and app.litellm.shared_users
    return owner.user_id == user_id and (owner.app_id == app.app_id or shared)


async def current_tier(work: UnitOfWork, app: App, user_id: str) -> Tier:
    """The tier is read when the job is carried out, so that a delayed job never restores an old tier."""
    stored = await work.read(lambda conn: entitlements.get(conn, app.app_id, user_id))
    return (app.tier(stored.entitlement.tier) if stored else None) or app.default_tier


async def _write(work: UnitOfWork, litellm: LiteLLM, app: App, tier: Tier, own_id: str) -> Provisioned:
    mode = app.litellm.mode if app.litellm else ""
    if mode == "customer":
        return await litellm.provision_customer(own_id, budget_id(app, tier), tier.limits)
    last = await work.read(lambda conn: litellm_ids.get(conn, mode, own_id))
    return await litellm.provision_internal_user(
        own_id,
        tier.limits,
        previous_budget_duration=last.budget_duration if last else None,
        metadata={"skpay_app": app.app_id, "skpay_tier": tier.tier_id},
    )


def limits_digest(app: App, tier: Tier) -> str:
    """A digest of what is written to LiteLLM for this tier, to detect an edit of apps.json."""
    mode = app.litellm
    named = {"mode": mode.mode, "user_id": mode.user_id, "shared_users": mode.shared_users} if mode else None
    written = [app.app_id, tier.tier_id, named, asdict(enforceable_limits(tier.limits))]
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


async def ensure_default_budgets(litellm: LiteLLM | None, catalog: Catalog) -> None:
    """Create the budgets that LiteLLM's `max_end_user_budget_id` may name. Raises `UpstreamFailed`.

    One for each app in `customer` mode: the first tier's. Idempotent.
    """
    for app in catalog.apps.values():
        if litellm is not None and app.litellm is not None and app.litellm.mode == "customer":
            await litellm.ensure_budget(budget_id(app, app.default_tier), app.default_tier.limits)


async def renew_limits(work: UnitOfWork, apps: InstalledApps) -> int:
    """Add a provisioning job for each user with outdated limits at LiteLLM; returns how many.

    Run at start and after an edit of apps.json: other limits, another mode or template, `litellm` switched on.
    Repeating it while jobs wait adds no more.
    """
    renewed = 0
    for app in apps.catalog.apps.values():
        if app.litellm is None:
            continue
        current = _current_digests(apps.catalog, app)
        async for users in _users(work, app):
            stale = await work.read(partial(_stale, app=app, users=users, current=current))
            if stale:
                await work.write(partial(_put_provisioning_jobs, app_id=app.app_id, user_ids=stale))
                renewed += len(stale)
    return renewed


async def _users(work: UnitOfWork, app: App) -> AsyncIterator[list[tuple[str, str]]]:
    """Pages of (user id, tier id): users with an entitlement, then users without one that have a LiteLLM id."""
    for tier in app.tiers:
        for stored_id in (tier.tier_id, *tier.was):
            after = ""
            while ids := await work.read(partial(_of_tier, app_id=app.app_id, tier=stored_id, after=after)):
                after = ids[-1]
                yield [(user_id, tier.tier_id) for user_id in ids]
    for mode in MODES:
        after = ""
        while page := await work.read(partial(_ids_of_app, app_id=app.app_id, mode=mode, after=after)):
            after = page[-1].litellm_id
            on_none = [each for each in page if each.tier is None or app.tier(each.tier) is None]
            yield [(each.user_id, app.default_tier.tier_id) for each in on_none]


def _of_tier(conn: Connection, *, app_id: str, tier: str, after: str) -> list[str]:
    return entitlements.users_of_tier(conn, app_id, tier, after, RENEW_PAGE)


def _ids_of_app(conn: Connection, *, app_id: str, mode: str, after: str) -> list[litellm_ids.ReservedId]:
    return litellm_ids.of_app(conn, app_id, mode, after, RENEW_PAGE)


def _current_digests(catalog: Catalog, app: App) -> dict[str, set[str]]:
    """Tier id → the digests that are up to date for its users: those of every app that shares its users."""
    shared: set[str] = set()
    if app.litellm is not None and app.litellm.shared_users:
        others = [each for each in catalog.apps.values() if each.litellm is not None and each.litellm.shared_users]
        shared = {limits_digest(each, tier) for each in others for tier in each.tiers}
    return {tier.tier_id: {limits_digest(app, tier), *shared} for tier in app.tiers}


def _stale(
    conn: Connection, *, app: App, users: Sequence[tuple[str, str]], current: Mapping[str, set[str]]
) -> list[str]:
    """The users that have other limits in LiteLLM than those of their tier."""
    found: list[str] = []
    for user_id, tier_id in users:
        stored = litellm_ids.get(conn, app.litellm.mode if app.litellm else "", app.litellm_id(user_id))
        if stored is None or (_may_write(app, user_id, stored.owner) and stored.digest not in current[tier_id]):
            found.append(user_id)
    return found


def _put_provisioning_jobs(tx: Transaction, *, app_id: str, user_ids: Sequence[str]) -> None:
    for user_id in user_ids:
        tx.provision(app_id, user_id)


def revive_dead_jobs(tx: Transaction) -> int:
    """Retry every dead job, due now; how many."""
    tx.wake(Loop.PROVISION)
    return provisioning.revive(tx.conn, tx.now)


async def _failed(work: UnitOfWork, job: ProvisioningJob, subject: str, exc: Exception) -> None:
    attempts, detail = job.attempts + 1, describe(exc)

    def record_failure(tx: Transaction) -> None:
        step = next_step(PROVISION, classify(exc), attempts, tx.now)
        if step.dead:
            provisioning.dead(tx.conn, job.job_id, job.version, detail, tx.now)
            tx.open_alert("litellm_refused", subject, f"limits were not set, and there is no retry: {detail}")
            return
        provisioning.retry(tx.conn, job.job_id, job.version, step.retry_at, detail)
        if step.alert:
            tx.open_alert("litellm_failing", subject, f"limits are not set yet: {detail}")

    await work.write(record_failure)
    log.warning(
        "provisioning_deferred",
        extra=fields(app_id=job.app_id, user_id=job.user_id, attempts=attempts, detail=detail),
        exc_info=traceback_of(exc),
    )

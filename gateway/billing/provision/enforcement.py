"""Check by a call whether LiteLLM enforces each app's limits: on request of `skpay doctor`, and daily."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.retry import CHECK_ENFORCEMENT
from gateway.catalog.model import App
from gateway.errors import StoreUnavailable, UpstreamFailed
from gateway.litellm import LiteLLM
from gateway.log import fields

log = logging.getLogger(__name__)

CHECK_SECONDS = 86_400.0
RECHECK_SECONDS = 90.0
"""A customer created in one LiteLLM worker may be unknown in another for a minute."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state`: enforced, not_enforced, unproven, or no_key where the app has no `litellm.shared_key`."""

    app_id: str
    mode: str
    state: str
    detail: str = ""


async def check_enforcement(billing: Billing) -> list[Verdict]:
    """A verdict for each app with `litellm`; resolves the alerts of apps that pass. Raises `StoreUnavailable`."""
    litellm = billing.litellm
    if litellm is None:
        return []
    apps = [app for app in billing.apps.catalog.apps.values() if app.litellm is not None]
    found = [await _check(billing.apps, litellm, app) for app in apps]
    for verdict in found:
        if verdict.state == "enforced":
            await resolve_alert(billing.work, "limits_not_enforced", verdict.app_id)
    return found


async def _check(apps: InstalledApps, litellm: LiteLLM, app: App) -> Verdict:
    mode = app.litellm
    if mode is None or mode.shared_key is None:
        return Verdict(app.app_id, mode.mode if mode else "", "no_key")
    keys = apps.secrets.get(mode.shared_key, ())
    try:
        proof = await litellm.prove_enforcement(app.app_id, mode.mode, keys, mode.user_header)
    except UpstreamFailed as exc:
        return Verdict(app.app_id, mode.mode, "unproven", f"{exc.message} {exc.detail}".strip())
    return Verdict(app.app_id, mode.mode, proof.state, proof.detail)


async def check_for_ever(billing: Billing) -> None:
    """Check at start and daily; hourly while a check does not pass."""
    while True:
        passed = await check_and_alert(billing)
        await asyncio.sleep(CHECK_SECONDS if passed else CHECK_ENFORCEMENT.delay(1))


async def check_and_alert(billing: Billing) -> bool:
    """Alert each app that fails two checks in a row; True if all apps with a key passed."""
    try:
        verdicts = await check_enforcement(billing)
        if any(each.state == "not_enforced" for each in verdicts):
            await asyncio.sleep(RECHECK_SECONDS)
            verdicts = await check_enforcement(billing)
        for each in verdicts:
            if each.state == "not_enforced":
                message = (
                    f"LiteLLM does not enforce the limits of {each.app_id}'s users ({each.mode}): a call of a customer "
                    f"with rpm_limit 0 was not refused, but answered {each.detail}"
                )
                await open_alert(billing.work, "limits_not_enforced", each.app_id, message)
    except StoreUnavailable as exc:
        log.warning("enforcement_check_deferred", extra=fields(detail=exc.detail))
        return False
    unproven = [each for each in verdicts if each.state == "unproven"]
    for each in unproven:
        log.warning("enforcement_not_proven", extra=fields(app_id=each.app_id, detail=each.detail))
    return all(each.state in ("enforced", "no_key") for each in verdicts)

"""LiteLLM: whether it is reachable, what the key may do, and the limits that it has."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from gateway.billing.provision.provision import budget_id
from gateway.catalog.model import App, Tier
from gateway.doctor.context import CheckContext
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.errors import UpstreamFailed
from gateway.litellm import LimitsComparison, LiteLLM

SUBJECT, ROUTES, LIMITS, ENFORCED = "litellm", "litellm key", "litellm limits", "litellm enforcement"
_UNMAPPED = {
    "customer": "map the header that names the user to customer in LiteLLM's user_header_mappings (SOP.md, LiteLLM)",
    "internal_user": "LiteLLM enforces these limits only for a user's own key: for a shared key use the mode customer; "
    "else make shared_key a key of the LiteLLM user skpay-doctor-{app_id}",
}


async def examine_litellm(context: CheckContext) -> list[Finding]:
    litellm = context.litellm
    if litellm is None:
        return [not_checked(SUBJECT, "is not set up (LITELLM_URL)")]
    try:
        await litellm.ping()
    except UpstreamFailed as exc:
        return [bad(SUBJECT, f"{exc.message} {exc.detail}".strip(), "is it up, with its database? see LITELLM_URL")]
    found = [ok(SUBJECT, "ready, with its database")]
    try:
        await litellm.check_key()
    except UpstreamFailed as exc:
        if exc.status == 401:
            return [
                *found,
                bad(ROUTES, "LiteLLM does not accept our key", "put the right one into LITELLM_KEY, restart"),
            ]
        if exc.status != 403:
            raise
    denied = [path for path in await litellm.denied_routes() if path != "/key/info" or _looks_up_keys(context)]
    if denied:
        remedy = "add them to the key's allowed_routes (SOP.md, LiteLLM), or give the key's user the role proxy_admin"
        return [*found, bad(ROUTES, f"our key may not call {', '.join(denied)}", remedy)]
    return [
        *found,
        ok(ROUTES, "may call all that is needed"),
        *await _limits(context, litellm),
        *await _enforced(context),
    ]


def _looks_up_keys(context: CheckContext) -> bool:
    return any(app.is_litellm for app in context.catalog.apps.values())


async def _limits(context: CheckContext, litellm: LiteLLM) -> list[Finding]:
    """Reads back what was written: the budgets of tiers, and the last provisioned user of each app."""
    wrong: list[Finding] = []
    looked = 0
    for app in context.catalog.apps.values():
        if app.litellm is None or app.litellm.shared_users:
            continue
        for tier in app.tiers if app.litellm.mode == "customer" else ():
            comparison = await litellm.compare_budget(budget_id(app, tier), tier.limits)
            looked += comparison is not None
            wrong += _judged(f"the budget {budget_id(app, tier)}", comparison)
    for each in context.server_report["provisioned"] if isinstance(context.server_report, dict) else ():
        app_, tier_ = _named(context, each["app_id"], each["tier"])
        if app_ is not None and tier_ is not None:
            comparison = await _holds(litellm, app_, tier_, each["litellm_id"])
            looked += comparison is not None
            wrong += _judged(f"{each['app_id']}/{each['user_id']} ({tier_.tier_id})", comparison, must_be=True)
    if wrong:
        return wrong
    return [ok(LIMITS, f"{looked} read back, as apps.json has them" if looked else "none are written yet")]


async def _enforced(context: CheckContext) -> list[Finding]:
    """The running server makes the calls, since it has the apps' keys; see `gateway.litellm.enforcement`."""
    if not any(app.litellm for app in context.catalog.apps.values()):
        return []
    settings = context.settings
    url = f"http://{settings.own_host}:{settings.port}/admin/limits/check"
    headers = {"Authorization": f"Bearer {settings.admin_token[0].reveal()}"}
    try:
        async with context.session.post(url, headers=headers) as response:
            body = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("apps"), list):
        return [not_checked(ENFORCED, "the server did not say whether LiteLLM enforces limits")]
    return [_enforcement(each) for each in body["apps"]]


def _enforcement(verdict: Mapping[str, str]) -> Finding:
    app_id, mode, state, detail = (verdict[name] for name in ("app_id", "mode", "state", "detail"))
    if state == "enforced":
        return ok(ENFORCED, f"{app_id}: a call of a user without requests was refused ({mode})")
    if state == "no_key":
        remedy = (
            f'give {app_id} "litellm": {{"shared_key": "env:…"}}, the key with which it calls LiteLLM (SOP.md, LiteLLM)'
        )
        return warning(ENFORCED, f"{app_id}: not proven that LiteLLM enforces its limits: no shared_key", remedy)
    if state == "unproven":
        remedy = "is shared_key the key with which the app calls LiteLLM, and LiteLLM up?"
        return warning(ENFORCED, f"{app_id}: not proven that LiteLLM enforces its limits: {detail}", remedy)
    message = f"{app_id}: LiteLLM does not enforce limits ({mode}): a user without requests was answered {detail}"
    return bad(ENFORCED, message, _UNMAPPED[mode].format(app_id=app_id))


def _named(context: CheckContext, app_id: str, tier_id: str) -> tuple[App | None, Tier | None]:
    app = context.catalog.app(app_id)
    return app, app.tier(tier_id) if app else None


async def _holds(litellm: LiteLLM, app: App, tier: Tier, own_id: str) -> LimitsComparison | None:
    if app.litellm is not None and app.litellm.mode == "customer":
        return await litellm.compare_customer(own_id, budget_id(app, tier), tier.limits)
    return await litellm.compare_internal_user(own_id, tier.limits)


def _judged(what: str, comparison: LimitsComparison | None, *, must_be: bool = False) -> list[Finding]:
    remedy = "skpay reconcile --apply; who else writes to LiteLLM?"
    if comparison is None:
        return [bad(LIMITS, f"LiteLLM does not know {what}", remedy)] if must_be else []
    if not comparison.differences:
        return []
    line = f"{what}: {'; '.join(comparison.differences)}"
    return [
        bad(LIMITS, line, remedy) if comparison.allows_more or comparison.allows_less else warning(LIMITS, line, remedy)
    ]

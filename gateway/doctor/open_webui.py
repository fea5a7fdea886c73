"""Open WebUI's secret, tried on a valid cookie: the gate must accept every session that Open WebUI accepts."""

from __future__ import annotations

import json

import aiohttp

from gateway.catalog.model import App
from gateway.doctor.context import CheckContext
from gateway.doctor.finding import Finding, bad, not_checked, ok

SUBJECT = "open webui"


async def examine_open_webui(context: CheckContext) -> list[Finding]:
    apps = [
        app for app in context.catalog.apps.values() if any(kind.session_cookie is not None for kind in app.identity)
    ]
    if not apps:
        return []
    urls = [(app, kind.introspection_url) for app in apps for kind in app.identity]
    introspected = [await _introspected(context, app, url) for app, url in urls if url is not None]
    return [*introspected, *await _cookies(context, apps)]


async def _introspected(context: CheckContext, app: App, base: str) -> Finding:
    """Whether the address of `introspect` is reachable, by its health route, which needs no credential."""
    subject = f"{SUBJECT} {app.app_id} introspect"
    try:
        async with context.session.get(f"{base}/health", allow_redirects=False) as response:
            body, status = json.loads(await response.text()), str(response.status)
    except ValueError:
        body, status = None, "no JSON"
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        body, status = None, f"nothing ({type(exc).__name__})"
    if isinstance(body, dict) and body.get("status") is True:
        return ok(subject, f"{base} answers")
    remedy = "introspect in apps.json is where Open WebUI is reached from here, past Traefik: http://open-webui:8080"
    return bad(subject, f"{base} answers {status}, and not as Open WebUI", remedy)


async def _cookies(context: CheckContext, apps: list[App]) -> list[Finding]:
    if context.options.cookie is None:
        how = "sign in, copy the cookie `token` from the browser, then: skpay doctor --cookie - (and paste it)"
        return [not_checked(SUBJECT, "its secret was not tried on a real cookie", how)]
    found = [await _app(context, app, context.options.cookie) for app in apps]
    # A cookie belongs to one app; once one app accepts it, the others need not.
    known = [finding for finding in found if finding.state == "ok"]
    return known or found


async def _app(context: CheckContext, app: App, cookie: str) -> Finding:
    """Ask the running gate, as Traefik does."""
    subject = f"{SUBJECT} {app.app_id}"
    settings = context.settings
    headers = {
        "X-SK-Gate": settings.gate_secret[0].reveal(), "X-Forwarded-Host": app.hosts[0], "X-Forwarded-Uri": "/",
        "X-Forwarded-Method": "GET", "Accept": "application/json", "Cookie": _as_header(cookie),
    }  # fmt: skip
    url = f"http://{settings.own_host}:{settings.gate_port}/gate?app={app.app_id}"
    async with context.session.get(url, headers=headers, allow_redirects=False) as response:
        user = response.headers.get("X-SK-User")
        text = await response.text()
    if user is not None:
        return ok(subject, f"the gate knows the cookie's owner: {user}, on {response.headers.get('X-SK-Tier')}")
    if response.status == 200:
        # On a public path the gate does not refuse an invalid cookie: ask it for the reason.
        why = await _why(context, app, cookie)
        if why:
            return bad(subject, f"the gate refuses the cookie: {why}", _remedy(why))
        return bad(subject, "the gate finds no user in the cookie", "is it the cookie named token, and still valid?")
    return bad(subject, f"the gate refuses the cookie: {_reason(text) or response.status}", _remedy(text))


async def _why(context: CheckContext, app: App, cookie: str) -> str:
    """Why the cookie is not accepted, '' if the server does not say."""
    settings = context.settings
    body = {
        "app_id": app.app_id,
        "url": f"https://{app.hosts[0]}/",
        "method": "GET",
        "headers": [{"name": "Cookie", "value": _as_header(cookie)}],
    }
    url = f"http://{settings.own_host}:{settings.port}/admin/gate/explain"
    operator = {"Authorization": f"Bearer {settings.admin_token[0].reveal()}"}
    async with context.session.post(url, json=body, headers=operator) as response:
        answer = await response.json(content_type=None)
    identity = answer.get("identity") if isinstance(answer, dict) else None
    return str(identity.get("reason") or "") if isinstance(identity, dict) else ""


def _as_header(cookie: str) -> str:
    """A whole Cookie header, or the value of `token` alone."""
    cookie = cookie.strip().removeprefix("Cookie:").strip()
    return cookie if "token=" in cookie else f"token={cookie}"


def _reason(text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    return str(body.get("message", "")) if isinstance(body, dict) else ""


def _remedy(text: str) -> str:
    if "signature" in text:
        return "give this app's identity secret the very WEBUI_SECRET_KEY that Open WebUI runs with, and restart"
    return "sign in to Open WebUI again and take the cookie from there"

"""Sends forged headers through Traefik and checks which arrive behind each app's chain (`/.skpayments/arrived`)."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from gateway.access.header_echo_tokens import header_echo_keys, make_echo_token
from gateway.access.policy import UPGRADE_PATH
from gateway.catalog.model import App
from gateway.catalog.reserved import HEADER_ECHO_PATH
from gateway.doctor.context import CheckContext
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.doctor.targets import Answer, Target, ask, targets

SUBJECT = "gate"
# In three requests: a proxy in between, or an option of Traefik's, may refuse the odder names, which is safe too.
FORGED = (
    ("X-SK-Tier", "x-sk-user", "X-Sk-Features", "X-SK-App", "X-SK-Gate", "X-SK-Anything", "XSK-Tier", "X--SK--Tier",
     "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix", "X-Forwarded-Host", "X-Forwarded-For",
     "X-Original-Url", "X-Original-Uri", "X-Rewrite-Url"),
    ("X_SK_Tier", "X-SK_Tier", "X_SK-Tier", "X-SK-Tier_", "x_sk_user", "X_SK_Gate", "X.SK.Tier", "X.SK-Tier",
     "X_Forwarded_Uri", "X_Forwarded_Host", "X_Forwarded_For", "X.Forwarded.Host", "X_Original_Url", "X.Original.Uri",
     "X_Rewrite_Url"),
    tuple(f"X{odd}SK{odd}Tier" for odd in "!#$%&'*+^`|~"),
)  # fmt: skip
_REFUSED = (400, 431)
# Removed only for apps with rules for methods.
_METHODS = (
    ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"),
    ("X_HTTP_Method_Override", "X-HTTP_Method-Override"),
    (),
)
# Traefik keeps these from trusted peers, and this host must not be one of them.
_OF_THE_PEER = ("x-forwarded-for",)
_WRITE = "skpay routes write, and see that Traefik reads what it writes"
_SAME = "give Traefik the same GATE_SECRET as SKPayments, and restart it"
_CHAIN = "whether the gate comes after it, Traefik's API says: skpay doctor --traefik-api http://traefik:8080"
_NAME_IT = (
    "if a sign-in proxy belongs there, name its middleware in the app's identity (kind header, after), then: skpay"
    " routes write; else remove it, since no request reaches the gate"
)
_AT_ONCE = 16
_MAX_LISTED = 6


async def examine_headers(context: CheckContext) -> list[Finding]:
    if not context.options.live:
        return [not_checked("forged headers", "none was sent through Traefik", "skpay doctor --live")]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def turn(app: App, host: str) -> list[Finding]:
        async with turns:
            public, direct = [await _host(context, app, host, target) for target in targets(context, app, host)]
        same = (public.state, public.message) == (direct.state, direct.message)
        return [public] if same else [public, direct]

    checks = [turn(app, host) for app in context.catalog.apps.values() for host in app.hosts]
    return [finding for found in await asyncio.gather(*checks) for finding in found]


async def _host(context: CheckContext, app: App, host: str, target: Target) -> Finding:
    """The gate checks the host's requests, and no forged header passes it."""
    subject = f"{SUBJECT} {host}{target.label}"
    claimed = [header.name for header in app.trusted_headers]
    sign_in = [header.after for header in app.trusted_headers]
    forged = dict.fromkeys(claimed, f"forged-{secrets.token_hex(8)}")
    answer = await ask(context, target, UPGRADE_PATH.rstrip("/"), {"Accept": "application/json", **forged})
    if isinstance(answer, str):
        return _unreached(subject, target, answer)
    before = _before(subject, answer, claimed, sign_in)
    if before is not None:
        return before
    arrived: list[tuple[str, bool]] = []
    sent = 0
    by_method = any(route.methods for route in app.routes)
    for number, names in enumerate(FORGED):
        names += _METHODS[number] if by_method else ()
        received = await _received_headers(context, app, target, names, odd=number > 0)
        if isinstance(received, Finding):
            return Finding(subject, received.state, received.message, received.remedy)
        arrived += received
        sent += len(names)
    if not target.direct:
        # An edge appends to the client's values here; an app that needs the address uses CF-Connecting-IP.
        arrived = [each for each in arrived if not each[0].lower().endswith("for")]
    return _judged(subject, arrived, sent)


def _unreached(subject: str, target: Target, why: str) -> Finding:
    if target.direct:
        remedy = "set routing.traefik_url in apps.json to where Traefik is reached from here, to have this asked too"
        return not_checked(subject, f"{target.base} {why}", remedy)
    return bad(
        subject, f"{target.base} {why}", "does its name lead to Traefik? see DNS, the tunnel and the certificate"
    )


def _before(subject: str, answer: Answer, claimed: Sequence[str] = (), sign_in: Sequence[str] = ()) -> Finding | None:
    """What answers before the host, by an anonymous request to `/.skpayments/upgrade`; None for the gate.

    `claimed`: the identity headers of the request, if the app uses such (T30). `sign_in`: the middlewares that set
    them, which run before the gate and refuse requests without a session.
    """
    code = answer.error
    if claimed and answer.status == 303 and "/buy/" in answer.headers.get("Location", ""):
        return bad(subject, f"any client can sign in as any user by sending {' or '.join(claimed)}", _WRITE)
    if answer.status == 401 and code == "sign_in_required":
        return None
    if answer.status == 503 and code:
        return bad(subject, f"the gate answers 503 {code}", "see skpay doctor's server, and its log")
    if answer.status == 403 and code == "forbidden":
        is_secret = "Traefik only" in answer.text
        return bad(subject, f"the gate refuses Traefik: {answer.message}", _SAME if is_secret else _WRITE)
    if answer.status == 500 and not answer.text:
        remedy = "is routing.gate_url in apps.json where Traefik reaches the gate's port? then skpay routes write"
        return bad(subject, "Traefik does not reach the gate", remedy)
    if answer.status == 404 and answer.text.startswith("404 page not found"):
        return bad(subject, "Traefik has no router for it", _WRITE)
    redirects = answer.status in (301, 302, 303, 307, 308)
    if redirects or "cf-mitigated" in answer.headers:
        where = answer.headers.get("Location", "another page").partition("?")[0]
        return not_checked(subject, f"{where} answers before the gate does", _CHAIN if sign_in else "")
    if sign_in and not code and answer.status in (401, 403):
        # oauth2-proxy redirects browsers to its sign-in page, and answers 401 to requests for JSON.
        return not_checked(subject, f"{' and '.join(sign_in)} answers {answer.status} before the gate does", _CHAIN)
    if not code and answer.status in (401, 403):
        message = f"answers {answer.status}, which is not the gate: something else asks people to sign in there"
        return bad(subject, message, _NAME_IT)
    return bad(subject, f"answers {answer.status}, which is not the gate: it does not stand before it", _WRITE)


async def _received_headers(
    context: CheckContext, app: App, target: Target, names: Sequence[str], *, odd: bool
) -> list[tuple[str, bool]] | Finding:
    """(name, forged) of each header behind the chain; empty if the request was refused for its `odd` names."""
    nonce = secrets.token_hex(8)
    text = make_echo_token(header_echo_keys(context.settings.admin_token)[0], app.app_id, nonce, int(time.time()))
    # A name in Connection is one that a proxy must remove: it must not remove ours.
    headers = [
        *((name, f"forged-{nonce}") for name in names),
        ("Connection", "keep-alive, X-SK-Tier, X-Forwarded-Host"),
    ]
    answer = await ask(context, target, f"{HEADER_ECHO_PATH}?app={app.app_id}&pass={text}", headers)
    if isinstance(answer, str):
        return bad("", f"{target.base} {answer}", "try again")
    if odd and answer.status in _REFUSED:
        return []
    received = _shown(answer)
    if answer.status == 200 and received is not None:
        return received
    if answer.error == "not_found":
        return not_checked("", "the running server does not know our ADMIN_TOKEN", "restart it after changing that")
    return bad("", f"the route to see its headers by is missing (answered {answer.status})", _WRITE)


def _shown(answer: Answer) -> list[tuple[str, bool]] | None:
    try:
        body: Any = json.loads(answer.text)
        return [(str(each["name"]), bool(each["forged"])) for each in body["headers"]]
    except (ValueError, TypeError, KeyError):
        return None


def _judged(subject: str, arrived: Sequence[tuple[str, bool]], sent: int) -> Finding:
    names = {name.lower() for name, _ in arrived}
    forged = sorted({name for name, is_forged in arrived if is_forged})
    ours = [name for name in forged if name.lower() not in _OF_THE_PEER]
    if ours:
        return bad(subject, f"forged headers reach the app: {_some(ours)}", _WRITE)
    if "x-sk-gate" in names:
        return bad(subject, "the app gets the gate's secret (X-SK-Gate)", _WRITE)
    absent = [name for name in ("X-SK-App", "X-SK-Tier") if name.lower() not in names]
    if absent:
        return bad(subject, f"the app does not get {' and '.join(absent)}", _WRITE)
    if forged:
        remedy = "entryPoints.….forwardedHeaders.trustedIPs: the tunnel's address alone"
        return warning(subject, f"the app gets a client's own values: {', '.join(forged)}", remedy)
    return ok(subject, f"{sent} forged headers were sent: the app received none of them, and the gate's own headers")


def _some(names: Sequence[str]) -> str:
    """The plainest names first."""
    plain = sorted(names, key=lambda name: (sum(not letter.isalnum() and letter != "-" for letter in name), name))
    more = f" and {len(plain) - _MAX_LISTED} more" if len(plain) > _MAX_LISTED else ""
    return ", ".join(plain[:_MAX_LISTED]) + more

"""The 401, 402 and 303 of one request."""

from __future__ import annotations

from gateway.access.authentication import NOT_ACTIVATED, Authentication, RejectedCredential
from gateway.access.identity.openwebui import SESSION_SOURCE
from gateway.access.policy import TierRequired
from gateway.access.tags import encode
from gateway.catalog.model import Tier
from gateway.gate import answers
from gateway.gate.prepared_app import PreparedApp

# As Open WebUI itself does with an invalid session cookie; without it the browser could not sign in.
_CLEAR_COOKIE = (("Set-Cookie", "token=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"),)


def tier_required(decision: TierRequired, url: str, page: bool) -> bytes:
    """402 for a program; for a browser (`page`) a redirect to `url`, the plans page."""
    current, required = decision.current_tier, decision.required_tier
    headers = tier_header(current) + answers.link(url, "payment")
    if page:
        return answers.see_other(url, headers)
    message = "no tier of this app allows this" if required is None else f"this needs the tier {required.name}"
    fields = {
        "required_tier": None if required is None else required.tier_id,
        "current_tier": current.tier_id,
        "upgrade_url": url,
    }
    buy = "See the plans" if required is None else f"Upgrade to {required.name}"
    detail = f"{answers.markdown_text(answers.sentence(message))} {answers.markdown_link(buy, url)}"
    return answers.refusal(402, "tier_required", message, fields, headers, detail)


def sign_in(app: PreparedApp, authentication: Authentication, reason: str, page: bool) -> bytes:
    """401; for a browser (`page`) a redirect to the sign-in page, or a page with the reason if there is none."""
    app.count("sign_in_required")
    url = app.app.sign_in_url
    headers: answers.Headers = () if url is None else answers.link(url, "login")
    if (
        isinstance(authentication, RejectedCredential)
        and authentication.source == SESSION_SOURCE
        and authentication.code != NOT_ACTIVATED
    ):
        headers += _CLEAR_COOKIE
    if page and url is not None:
        return answers.see_other(url, headers)
    challenge = (("WWW-Authenticate", f'Bearer realm="{app.app_id}"'),)  # RFC 9110: no 401 without one
    if page:
        return answers.page(401, answers.sentence(reason), challenge + headers)
    detail = "" if url is None else f"{answers.sentence(reason)} {answers.markdown_link('Sign in', url)}"
    return answers.refusal(401, "sign_in_required", reason, headers=challenge + headers, detail=detail)


def tier_header(tier: Tier) -> answers.Headers:
    """For the access log and for programs. A refusal reaches the visitor, so it has no other tag."""
    return (("X-SK-Tier", encode(tier.tier_id).decode()),)

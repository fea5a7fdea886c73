"""The webhook's public URL as Stripe calls it: it answers, without a redirect, and is SKPayments."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.doctor.context import CheckContext
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.doctor.targets import Answer, Target, ask

SUBJECT = "webhook URL"
PATH = "/webhook/stripe"


async def examine_webhook(context: CheckContext) -> list[Finding]:
    if not context.options.live:
        return [not_checked(SUBJECT, "was not called", "skpay doctor --live")]
    public = urlsplit(context.settings.public_url)
    target = Target(context.settings.public_url, public.netloc, direct=False)
    # A body that Stripe did not sign is refused first: nothing is recorded.
    answer = await ask(context, target, PATH, {"Content-Type": "application/json"}, "POST")
    return [_judged(target.base + PATH, answer), *_plain(context)]


def _judged(url: str, answer: Answer | str) -> Finding:
    dns = "does its name lead to Traefik? see DNS, the tunnel and the certificate"
    if isinstance(answer, str):
        return bad(SUBJECT, f"{url} {answer}", dns)
    if 300 <= answer.status < 400:
        where = answer.headers.get("Location", "").partition("?")[0]
        remedy = "give PUBLIC_URL, and the endpoint in Stripe's Dashboard, the address that answers by itself"
        return bad(SUBJECT, f"{url} redirects to {where}, which Stripe counts as a failure", remedy)
    if answer.status == 400 and answer.error == "missing_signature":
        return ok(SUBJECT, f"{url} answers, and refuses what Stripe did not sign")
    if answer.error:
        return bad(SUBJECT, f"{url} answers {answer.status} {answer.error}", "see the server's log")
    if answer.status in (401, 403):
        remedy = "let this path pass whatever asks people to sign in there (Cloudflare Access, a middleware)"
        return bad(SUBJECT, f"{url} answers {answer.status}, and not from us", remedy)
    if answer.status == 404:
        return bad(SUBJECT, f"{url} answers 404, and not from us", "skpay routes write; is the host PUBLIC_URL's?")
    if answer.status in (502, 503, 504) or (answer.status == 500 and not answer.text):
        remedy = "is routing.public_service_url in apps.json where Traefik reaches our PORT? then skpay routes write"
        return bad(SUBJECT, f"{url} answers {answer.status}: Traefik does not reach us", remedy)
    return bad(SUBJECT, f"{url} answers {answer.status}, and not from us", dns)


def _plain(context: CheckContext) -> list[Finding]:
    if context.stripe.livemode and urlsplit(context.settings.public_url).scheme != "https":
        return [warning(SUBJECT, "is plain http, which Stripe does not call in live mode", "PUBLIC_URL=https://…")]
    return []

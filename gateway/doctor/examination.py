"""The questions asked of an installation, each with what to do when the answer is bad."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from gateway.errors import SkpayError
from gateway.litellm import LiteLLM
from gateway.settings import Settings
from gateway.stripe.client import Stripe

EVENTS = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice.payment_failed",
)
"""The least that a webhook endpoint must be subscribed to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer. `remedy` says what to type; empty when all is well."""

    subject: str
    well: bool
    message: str
    remedy: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Ask everything at once; nothing here changes anything, and no failure of one hides another."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        stripe = Stripe(session, settings.stripe_secret_key, api_base=settings.stripe_api_base, attempts=1)
        questions: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
            ("server", lambda: _server(session, settings)),
            ("gate", lambda: _gate(session, settings)),
            ("stripe key", lambda: _stripe_key(stripe)),
            ("webhook endpoint", lambda: _endpoint(stripe, settings)),
        ]
        if settings.litellm_url is not None:
            litellm = LiteLLM(session, settings.litellm_url, settings.litellm_key)
            questions.append(("litellm", lambda: _litellm(litellm)))
        return list(await asyncio.gather(*(_asked(subject, question) for subject, question in questions)))


async def _asked(subject: str, question: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await question()
    except SkpayError as exc:
        return Finding(subject, False, f"{exc.message} {exc.detail}".strip(), "check the address and the key")
    except ValueError:
        return Finding(subject, False, "answered something that is not JSON", "does another program listen there?")
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        return Finding(subject, False, f"no answer: {type(exc).__name__}", "is it running? skpay serve")


async def _server(session: aiohttp.ClientSession, settings: Settings) -> Finding:
    headers = {"Authorization": f"Bearer {settings.admin_token[0].reveal()}"}
    async with session.get(f"http://{settings.own_host}:{settings.port}/ready", headers=headers) as response:
        answer = await response.json(content_type=None)
    if not isinstance(answer, dict) or "ready" not in answer:
        return Finding("server", False, "is not ours", f"another program listens on port {settings.port}")
    problems = answer.get("problems")
    if problems is None:  # told to the operator only
        return Finding("server", False, "does not know our ADMIN_TOKEN", "restart it after changing ADMIN_TOKEN")
    if problems:
        told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return Finding("server", False, f"not ready: {told}", "see the log and skpay alerts")
    return Finding("server", True, "ready")


async def _gate(session: aiohttp.ClientSession, settings: Settings) -> Finding:
    url = f"http://{settings.own_host}:{settings.gate_port}/metrics"
    async with session.get(url) as response:
        without = response.status
    async with session.get(url, headers={"X-SK-Gate": settings.gate_secret[0].reveal()}) as response:
        answered = response.status
    if without != 403:
        return Finding("gate", False, f"answered {without} without the secret", "something else listens on GATE_PORT")
    if answered != 200:
        return Finding("gate", False, f"answered {answered} with the secret", "restart after changing GATE_SECRET")
    return Finding("gate", True, "answers, and only to the secret")


async def _stripe_key(stripe: Stripe) -> Finding:
    await stripe.get("/v1/prices", {"limit": 1})
    return Finding("stripe key", True, "live mode" if stripe.livemode else "test mode")


async def _endpoint(stripe: Stripe, settings: Settings) -> Finding:
    url = f"{settings.public_url}/webhook/stripe"
    found = [each async for each in stripe.each("/v1/webhook_endpoints") if each.get("url") == url]
    found.sort(key=lambda each: each.get("status") != "enabled")  # an old one beside it may be disabled
    if not found:
        remedy = f"add an endpoint with the URL {url} in Stripe's Dashboard"
        return Finding("webhook endpoint", False, "Stripe has no endpoint with our URL", remedy)
    enabled = found[0].get("enabled_events") or []
    missing = [] if "*" in enabled else [event for event in EVENTS if event not in enabled]
    if found[0].get("status") != "enabled":
        return Finding("webhook endpoint", False, "is disabled", "enable it in Stripe's Dashboard")
    if missing:
        return Finding("webhook endpoint", False, f"misses {', '.join(missing)}", "add these events to it")
    return Finding("webhook endpoint", True, "enabled, with every event")


async def _litellm(litellm: LiteLLM) -> Finding:
    await litellm.ping()
    await litellm.check_key()
    return Finding("litellm", True, "ready, with its database, and knows our key")

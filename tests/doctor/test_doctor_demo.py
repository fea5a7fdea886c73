"""`skpay doctor` on the running demo: all is well; with one thing broken it says exactly that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from doctor.demo_breaks import (
    BEFORE,
    LEFT_OVER,
    OTHER_HOST,
    TCP,
    Break,
    budget_changed,
    endpoint,
    env,
    given_away,
    in_headers,
    middleware,
    narrow_key,
    other_file,
    redirects,
    routed,
    router,
    sold_out,
)
from doctor.demo_installation import CliResult, Installation

from gateway.sandbox.demo import stage as demo_stage
from gateway.stripe.event_types import NEEDED, USEFUL

pytestmark = pytest.mark.needs_traefik

GATE = "traefik: gate on every router"
ROUTERS, LIVE = "traefik: routers", "gate chat.localhost"
WEBHOOK = "http://pay.localhost:WEB/webhook/stripe"
SUBJECTS = {
    "apps.json", "database", "disk", "clock", "server", "gate", "stripe key", "stripe rights", "stripe prices",
    "stripe portal skai", "webhook endpoint", "webhook deliveries", "webhook URL", "litellm", "litellm key",
    "litellm limits", "litellm enforcement", "open webui skai", "traefik", "traefik: entry points", ROUTERS, GATE,
    "traefik: TCP routers",
    LIVE, "gate port", "edge cache chat.localhost",
}  # fmt: skip
# What is broken, how, and all that doctor says of it but "ok": (state, subject, message).
BROKEN: dict[str, tuple[Break, CliResult]] = {
    "nothing": (lambda demo: contextlib.nullcontext(), []),
    "the server is not there": (env(PORT="9"), [("bad", "server", "no answer: ClientConnectorError")]),
    "ADMIN_TOKEN was changed without a restart": (
        env(ADMIN_TOKEN="another-1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c"),
        [("bad", "server", "does not know our ADMIN_TOKEN")],
    ),
    "GATE_SECRET was changed without a restart": (
        env(GATE_SECRET="another-1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c"),
        [
            ("bad", "gate", "answered 403 with the secret"),
            ("bad", GATE, "sk-in@file.customRequestHeaders.X-SK-Gate is another secret than ours"),
        ],
    ),
    "the key of another Stripe account": (
        env(STRIPE_SECRET_KEY="sk_test_wrong1a2b3c"),
        [("bad", "stripe key", "Stripe does not know it")],
    ),
    "the old key is still beside the new one": (
        lambda demo: demo.env(STRIPE_SECRET_KEY=f"{demo.stage.environ['STRIPE_SECRET_KEY']},sk_test_old1a2b3c"),
        [("warning", "stripe key", "the older of the two keys is no longer valid")],
    ),
    "Stripe is away": (
        env(STRIPE_API_BASE="http://127.0.0.1:9"),
        [("bad", "stripe key", "Stripe cannot be reached. ClientConnectorError GET")],
    ),
    "a price was archived": (
        sold_out,
        [("bad", "stripe prices", "skai/pro/skai_pro_year: Stripe has no active price")],
    ),
    "the webhook endpoint is disabled": (
        lambda demo: endpoint(demo, disabled="true"),
        [("bad", "webhook endpoint", "is disabled")],
    ),
    "the webhook endpoint has a slash too much": (
        lambda demo: endpoint(demo, url=f"{demo.stage.pay_url}/webhook/stripe/"),
        [("bad", "webhook endpoint", f"calls {WEBHOOK}/, which is not our URL")],
    ),
    "the webhook endpoint hears too little": (
        lambda demo: endpoint(
            demo, **{f"enabled_events[{number}]": name for number, name in enumerate((*USEFUL, *NEEDED[1:]))}
        ),
        [("bad", "webhook endpoint", "misses charge.dispute.closed")],
    ),
    "the portal gives upgrades away": (
        given_away,
        [
            ("bad", "stripe portal skai",
             "was changed at Stripe: login_page.enabled: True, not False; "
             "features.subscription_update.proration_behavior: 'none', not 'always_invoice'"),
        ],
    ),
    "LiteLLM is away": (
        env(LITELLM_URL="http://127.0.0.1:9"),
        [("bad", "litellm", "LiteLLM could not be reached. /health/readiness: ClientConnectorError")],
    ),
    "the key of another LiteLLM": (
        env(LITELLM_KEY="sk-wrong1a2b3c"),
        [("bad", "litellm key", "LiteLLM does not accept our key")],
    ),
    "LiteLLM's key may too little": (
        narrow_key,
        [("bad", "litellm key", "our key may not call /user/delete, /customer/new, /customer/update, /customer/delete, "
          "/budget/new, /budget/update")],
    ),
    "somebody else writes LiteLLM's limits": (
        budget_changed,
        [
            ("bad", "litellm limits", "the budget skai.free: rpm_limit: expected 60, LiteLLM has 999"),
            ("bad", "litellm limits", "skai/ada (free): rpm_limit: expected 60, LiteLLM has 999"),
        ],
    ),
    "PUBLIC_URL is another host": (
        lambda demo: demo.env(PUBLIC_URL=f"http://shop.localhost:{demo.stage.web_port}"),
        [
            ("bad", "webhook endpoint", "Stripe has no endpoint with our URL"),
            ("bad", "webhook URL", "http://shop.localhost:WEB/webhook/stripe answers 404, and not from us"),
            ("bad", ROUTERS, "no router serves shop.localhost, so neither Stripe nor buyers reach SKPayments"),
        ],
    ),
    "an edit of apps.json cannot be used": (
        lambda demo: demo.text(demo.stage.folder / "apps.json", '{"apps": [], "surprise": 1}'),
        [
            ("bad", "apps.json", "DEMO/apps.json: surprise: unknown key"),
            ("bad", "server", "not ready: catalog: DEMO/apps.json: surprise: unknown key"),
        ],
    ),
    "a router is left over": (
        other_file(LEFT_OVER),
        [
            ("bad", GATE,
             "old@file (Host(`chat.localhost`) && PathPrefix(`/old`)) serves chat.localhost without the gate"),
        ],
    ),
    "another host leads to the app": (
        other_file(OTHER_HOST),
        [("bad", GATE, "direct@file (Host(`direct.localhost`)) leads to skai (127.0.0.1:APP) without the gate")],
    ),
    "a router comes before the gate's": (
        other_file(BEFORE),
        [
            ("bad", GATE,
             "greedy@file (HostRegexp(`^chat`)) serves chat.localhost without the gate, before the gate's router"),
            ("bad", LIVE, "answers 200, which is not the gate: it does not stand before it"),
        ],
    ),
    "a TCP router leads to the app": (
        other_file(TCP),
        [("bad", "traefik: TCP routers", "raw@file (HostSNI(`db.localhost`)) leads to skai without the gate")],
    ),
    "a middleware is missing": (
        router("sk-app-skai", middlewares=["sk-in", "sk-host-skai", "sk-gate-typo"]),
        [
            ("bad", ROUTERS,
             'sk-app-skai@file (Host(`chat.localhost`)): middleware "sk-gate-typo@file" does not exist'),
            ("bad", GATE, "no router with the gate serves chat.localhost"),
            ("bad", LIVE, "Traefik has no router for it"),
        ],
    ),
    "the gate lets a client's headers through": (
        middleware("sk-gate-skai", authResponseHeadersRegex=None, authResponseHeaders=["X-SK-Tier"]),
        [
            ("bad", GATE, "routes are out of date: sk-gate-skai@file has no authResponseHeadersRegex"),
            ("bad", LIVE, "forged headers reach the app: X--Sk--Tier, X-Original-Uri, X-Original-Url, "
             "X-Rewrite-Url, X-Sk-Anything, X-Sk-App and 27 more"),
        ],
    ),
    "a proxy before Traefik is believed about the request": (
        middleware("sk-in", customRequestHeaders={"X-SK-Gate": '{{ env "GATE_SECRET" }}'}),
        [
            ("bad", GATE, "routes are out of date: sk-in@file.customRequestHeaders has no X-Forwarded-Uri, "
             "X-Forwarded-Method, X-Forwarded-Prefix"),
        ],
    ),
    "older routes take fewer headers from visitors": (
        middleware("sk-gate-skai", authResponseHeadersRegex="(?i)^x[^a-z0-9]*sk[^a-z0-9]"),
        [
            ("bad", GATE, "routes are out of date: sk-gate-skai@file.authResponseHeadersRegex is not what "
             "skpay routes write makes"),
            ("bad", LIVE, "forged headers reach the app: X-Original-Uri, X-Original-Url, X-Rewrite-Url, "
             "X.forwarded.host, X.original.uri, X_original_url and 1 more"),
        ],
    ),
    "Traefik has another GATE_SECRET": (
        in_headers("sk-in", "X-SK-Gate", "another1a2b3c"),
        [
            ("bad", GATE, "sk-in@file.customRequestHeaders.X-SK-Gate is another secret than ours"),
            ("bad", LIVE, "the gate refuses Traefik: this address is for Traefik only"),
        ],
    ),
    "Traefik has no GATE_SECRET": (
        in_headers("sk-in", "X-SK-Gate", ""),
        [
            ("bad", GATE,
             "sk-in@file.customRequestHeaders.X-SK-Gate is empty: Traefik has no GATE_SECRET in its environment"),
            ("bad", LIVE, "the gate refuses Traefik: this address is for Traefik only"),
        ],
    ),
    "Traefik asks another gate": (
        middleware("sk-gate-skai", address="http://127.0.0.1:9/gate?app=skai"),
        [
            ("bad", GATE, "no router with the gate serves chat.localhost; without it: sk-app-skai@file, "
             "sk-arrived-skai@file"),
            ("bad", LIVE, "Traefik does not reach the gate"),
        ],
    ),
    "the webhook's URL redirects": (
        routed(redirects),
        [("bad", "webhook URL", f"{WEBHOOK} redirects to https://www.{WEBHOOK.removeprefix('http://')}, "
          "which Stripe counts as a failure")],
    ),
    "our own router is missing": (
        routed(lambda tree: tree["http"]["routers"].pop("sk-public")),
        [
            ("bad", "webhook URL", f"{WEBHOOK} answers 404, and not from us"),
            ("bad", ROUTERS, "no router serves pay.localhost, so neither Stripe nor buyers reach SKPayments"),
        ],
    ),
    "the route to see headers by is missing": (
        routed(lambda tree: tree["http"]["routers"].pop("sk-arrived-skai")),
        [("bad", LIVE, "the route to see its headers by is missing (answered 200)")],
    ),
    "all is mended": (lambda demo: contextlib.nullcontext(), []),
}  # fmt: skip


@contextlib.asynccontextmanager
async def running_demo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    """The demo; its Traefik need not wait two seconds between two edits."""
    static = demo_stage._static

    def quick(*places: Any) -> dict[str, Any]:
        return {**(made := static(*places)), "providers": {**made["providers"], "providersThrottleDuration": "50ms"}}

    monkeypatch.setattr(demo_stage, "_static", quick)
    async with (
        demo_stage.open_stage(folder, lambda _: None, fixed_ports=False) as stage,
        aiohttp.ClientSession() as session,
    ):
        yield Installation(stage, session)


async def test_doctor_reports_exactly_the_one_thing_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_demo(tmp_path, monkeypatch) as demo:
        whole = await demo.findings(cookie=demo.cookie())
        assert {each.subject: each.state for each in whole if each.state != "ok"} == {"gate port": "not checked"}
        assert {each.subject for each in whole} == SUBJECTS
        assert await demo.shell("doctor", "--live", "--strict") == 0
        wrong = {}
        for name, (broken, expected) in BROKEN.items():
            async with contextlib.AsyncExitStack() as stack:
                context = broken(demo)
                if isinstance(context, contextlib.AbstractAsyncContextManager):
                    await stack.enter_async_context(context)
                else:
                    stack.enter_context(context)
                # Traefik and the server need a moment to see an edit.
                result = await demo.until_result(expected)
            if result != expected:
                wrong[name] = result
        assert wrong == {}

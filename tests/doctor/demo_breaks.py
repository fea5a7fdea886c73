"""What can be broken in the running demo, from outside: each is undone after its block."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from doctor.demo_installation import Installation
from servers.traefik import until

Break = Callable[[Installation], Any]


def routed(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda demo: demo.routed(change)


def env(**changed: str) -> Break:
    return lambda demo: demo.env(**changed)


def other_file(routers: str) -> Break:
    """One more file beside ours, with routers to the app's own server."""

    def broken(demo: Installation) -> Any:
        text = routers.replace("UPSTREAM", demo.upstream).replace("ADDRESS", demo.upstream.removeprefix("http://"))
        return demo.text(demo.routes.parent / "other.yml", text)

    return broken


def middleware(name: str, **changed: object) -> Break:
    """One of our middlewares' options, changed; None takes an option away."""

    def change(tree: dict[str, Any]) -> None:
        (options,) = tree["http"]["middlewares"][name].values()
        options.update(changed)
        for key in [key for key, value in changed.items() if value is None]:
            del options[key]

    return routed(change)


def in_headers(name: str, header: str, value: str) -> Break:
    """One header that one of our middlewares sets."""

    def change(tree: dict[str, Any]) -> None:
        tree["http"]["middlewares"][name]["headers"]["customRequestHeaders"][header] = value

    return routed(change)


def router(name: str, **changed: object) -> Break:
    return routed(lambda tree: tree["http"]["routers"][name].update(changed))


def redirects(tree: dict[str, Any]) -> None:
    regex = {"regex": "^http://(.*)$", "replacement": "https://www.${1}"}
    tree["http"]["middlewares"]["moved"] = {"redirectRegex": regex}
    tree["http"]["routers"]["sk-public"]["middlewares"] = ["moved"]


LEFT_OVER = """
http:
  routers: {old: {rule: "Host(`chat.localhost`) && PathPrefix(`/old`)", service: old}}
  services: {old: {loadBalancer: {servers: [{url: "UPSTREAM"}]}}}
"""
OTHER_HOST = """
http:
  routers: {direct: {rule: "Host(`direct.localhost`)", service: direct}}
  services: {direct: {weighted: {services: [{name: real}]}}, real: {loadBalancer: {servers: [{url: "UPSTREAM"}]}}}
"""
BEFORE = """
http:
  routers: {greedy: {rule: "HostRegexp(`^chat`)", service: mine, priority: 2000}}
  services: {mine: {loadBalancer: {servers: [{url: "UPSTREAM"}]}}}
"""
TCP = """
tcp:
  routers: {raw: {rule: "HostSNI(`db.localhost`)", service: raw, tls: {passthrough: true}}}
  services: {raw: {loadBalancer: {servers: [{address: "ADDRESS"}]}}}
"""


@contextlib.asynccontextmanager
async def endpoint(demo: Installation, **changed: str) -> AsyncIterator[None]:
    (ours,) = (await demo.stripe("GET", "webhook_endpoints"))["data"]
    mended = {"url": ours["url"], "disabled": "false", "enabled_events[0]": "*"}
    async with demo.at_stripe(f"webhook_endpoints/{ours['id']}", changed, mended):
        yield


@contextlib.asynccontextmanager
async def sold_out(demo: Installation) -> AsyncIterator[None]:
    (price,) = (await demo.stripe("GET", "prices?lookup_keys[]=skai_pro_year"))["data"]
    async with demo.at_stripe(f"prices/{price['id']}", {"active": "false"}, {"active": "true"}):
        yield


@contextlib.asynccontextmanager
async def given_away(demo: Installation) -> AsyncIterator[None]:
    """Somebody makes upgrades free in the portal; then the remedy is typed."""
    await demo.api("POST", "/checkout/skai", {"user_id": "ada", "tier": "pro"})
    await demo.api("POST", "/portal/skai", {"user_id": "ada"})
    (ours,) = (await demo.stripe("GET", "billing_portal/configurations"))["data"]
    free = {"features[subscription_update][proration_behavior]": "none", "login_page[enabled]": "true"}
    await demo.stripe("POST", f"billing_portal/configurations/{ours['id']}", **free)
    yield
    await demo.api("POST", "/admin/portals/push", None)


@contextlib.asynccontextmanager
async def budget_changed(demo: Installation) -> AsyncIterator[None]:
    """Ada's first visit had her limits written; somebody else writes others."""

    async def written() -> bool:
        return bool(await demo.litellm("/budget/info", {"budgets": ["skai.free"]}))

    url = f"http://127.0.0.1:{demo.stage.web_port}/"
    async with demo.session.get(url, headers={"Host": "chat.localhost", "Cookie": f"token={demo.cookie()}"}) as answer:
        assert answer.status == 200
    await until(written, "Ada's budget")
    await demo.litellm("/budget/update", {"budget_id": "skai.free", "rpm_limit": 999})
    yield
    await demo.litellm("/budget/update", {"budget_id": "skai.free", "rpm_limit": 60})


@contextlib.asynccontextmanager
async def narrow_key(demo: Installation) -> AsyncIterator[None]:
    await demo.litellm("/user/new", {"user_id": "svc", "user_role": "proxy_admin", "auto_create_key": False})
    allowed = ["/user/update", "/user/info", "/v2/user/info", "/budget/info", "/customer/info", "/customer/list"]
    made = await demo.litellm("/key/generate", {"user_id": "svc", "allowed_routes": allowed})
    with demo.env(LITELLM_KEY=made["key"]):
        yield

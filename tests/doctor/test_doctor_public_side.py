"""The checks from outside: the webhook's URL, the gate's port, Cloudflare's cache, what stands before the gate."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from servers.running import GATE_SECRET, environ_of, served, write_apps

from gateway.doctor import Options, edge, examine
from gateway.doctor.headers import _before, _judged
from gateway.doctor.targets import Answer
from gateway.settings import read_settings

NONE_ARRIVED = "9 forged headers were sent: the app received none of them, and the gate's own headers"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Installation:
    """Nothing of it runs, which these questions do not need."""

    folder: Path
    environ: dict[str, str]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    nobody = "http://127.0.0.1:9"
    write_apps(tmp_path, lambda tree: tree.update(routing={"traefik_url": nobody}))
    return Installation(tmp_path, environ_of(tmp_path, stripe_url=nobody, litellm_url=nobody, PORT="9", GATE_PORT="10"))


@contextlib.asynccontextmanager
async def public(answer: Handler) -> AsyncIterator[str]:
    """The server at the public address, for every request."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with served(application) as url:
        yield url.replace("127.0.0.1", "pay.localhost")


async def findings(installation: Installation, subject: str, **environ: str) -> list[tuple[str, str]]:
    found = await examine(read_settings({**installation.environ, **environ}), Options(live=True))
    return [(each.state, each.message) for each in found if each.subject.startswith(subject)]


def refusal(code: str, message: str = "") -> str:
    return f'{{"error": "{code}", "message": "{message}"}}'


@pytest.mark.parametrize(
    ("status", "text", "headers", "state", "message"),
    [
        (400, refusal("missing_signature"), {}, "ok", "answers, and refuses what Stripe did not sign"),
        (301, "", {"Location": "https://www.example.com/x?y"}, "bad",
         "redirects to https://www.example.com/x, which Stripe counts as a failure"),
        (308, "", {"Location": "/webhook/stripe/"}, "bad",
         "redirects to /webhook/stripe/, which Stripe counts as a failure"),
        (302, "", {"Location": "https://team.cloudflareaccess.com/login"}, "bad",
         "redirects to https://team.cloudflareaccess.com/login, which Stripe counts as a failure"),
        (401, "Unauthorized", {}, "bad", "answers 401, and not from us"),
        (403, "<html>Just a moment…", {}, "bad", "answers 403, and not from us"),
        (404, "404 page not found", {}, "bad", "answers 404, and not from us"),
        (200, "<h1>Welcome", {}, "bad", "answers 200, and not from us"),
        (500, "", {}, "bad", "answers 500: Traefik does not reach us"),
        (502, "Bad Gateway", {}, "bad", "answers 502: Traefik does not reach us"),
        (503, refusal("store_unavailable"), {}, "bad", "answers 503 store_unavailable"),
    ],
)  # fmt: skip
async def test_the_webhooks_url_as_stripe_meets_it(
    installation: Installation, status: int, text: str, headers: Mapping[str, str], state: str, message: str
) -> None:
    got: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        got.append((request.method, request.path, await request.read()))
        return web.Response(status=status, text=text, headers=headers)

    async with public(answer) as url:
        assert await findings(installation, "webhook URL", PUBLIC_URL=url) == [
            (state, f"{url}/webhook/stripe {message}")
        ]
    assert ("POST", "/webhook/stripe", b"") in got


async def test_a_public_address_without_a_server(installation: Installation) -> None:
    ((state, message),) = await findings(installation, "webhook URL", PUBLIC_URL="http://pay.localhost:9")
    assert (state, message) == ("bad", "http://pay.localhost:9/webhook/stripe cannot be connected to "
                                       "(ClientConnectorError)")  # fmt: skip
    ((state, message),) = await findings(installation, "webhook URL", PUBLIC_URL="http://pay.invalid")
    assert (state, message) == ("bad", "http://pay.invalid/webhook/stripe has a name that does not resolve")


async def test_the_gates_port_must_not_be_reached_from_outside(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = "pay.localhost is this very machine, from which {port} is reached as it must be"
    environ = {"PUBLIC_URL": "http://pay.localhost:9"}
    assert await findings(installation, "gate port", **environ) == [("not checked", here.format(port=10))]

    async def elsewhere(_: str) -> bool:
        return False

    monkeypatch.setattr(edge, "_is_here", elsewhere)

    async def gate(request: web.Request) -> web.Response:
        assert "127.0.0.1" in request.host or GATE_SECRET not in str(request.headers)
        return web.json_response({"error": "forbidden", "message": MESSAGE}, status=403)

    async with public(gate) as url:
        port = url.rpartition(":")[2]
        expected = ("bad", f"pay.localhost:{port} answers from outside")
        assert await findings(installation, "gate port", GATE_PORT=port, **environ) == [expected]

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="Cloudflare answers on many ports")

    async with public(page) as url:
        other = url.rpartition(":")[2]
        for gate_port in (other, "10"):
            assert await findings(installation, "gate port", GATE_PORT=gate_port, **environ) == [
                ("ok", f"pay.localhost:{gate_port} is not reached from outside")
            ]


@pytest.mark.parametrize(
    ("first", "second", "state", "message"),
    [
        (None, None, "ok", "no Cloudflare cache before it"),
        ("DYNAMIC", "DYNAMIC", "ok", "Cloudflare keeps nothing (DYNAMIC)"),
        ("BYPASS", "bypass", "ok", "Cloudflare keeps nothing (BYPASS)"),
        ("MISS", "MISS", "warning", "Cloudflare asks its cache first (CF-Cache-Status: MISS)"),
        ("MISS", "HIT", "bad", "Cloudflare answers without asking the gate (CF-Cache-Status: HIT)"),
        ("EXPIRED", "STALE", "bad", "Cloudflare answers without asking the gate (CF-Cache-Status: STALE)"),
    ],
)
async def test_t40_what_cloudflare_keeps(
    installation: Installation, first: str | None, second: str | None, state: str, message: str
) -> None:
    requested: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        requested.append(request.path)
        status = second if requested.count(request.path) > 1 else first
        return web.Response(status=404, headers={"CF-Cache-Status": status} if status else {})

    async with public(answer) as url:
        text = (installation.folder / "apps.json").read_text()
        port = url.rpartition(":")[2]
        local = text.replace("https://chat.example.com", f"http://chat.localhost:{port}")
        (installation.folder / "apps.json").write_text(local.replace("chat.example.com", "chat.localhost"))
        assert (await findings(installation, "edge cache chat", PUBLIC_URL=url)) == [(state, message)]
    assert len({path for path in requested if path.endswith(".js")}) == 1


MESSAGE = "this address is for Traefik only"


@pytest.mark.parametrize(
    ("status", "text", "headers", "expected"),
    [
        (401, refusal("sign_in_required"), {}, None),
        (503, refusal("not_ready"), {}, ("bad", "the gate answers 503 not_ready")),
        (403, refusal("forbidden", MESSAGE), {}, ("bad", f"the gate refuses Traefik: {MESSAGE}")),
        (500, "", {}, ("bad", "Traefik does not reach the gate")),
        (404, "404 page not found\n", {}, ("bad", "Traefik has no router for it")),
        (302, "", {"Location": "https://auth.example.com/?rd=x"},
         ("not checked", "https://auth.example.com/ answers before the gate does")),
        (403, "<html>", {"cf-mitigated": "challenge"}, ("not checked", "another page answers before the gate does")),
        (200, "<html>", {}, ("bad", "answers 200, which is not the gate: it does not stand before it")),
        (404, "<html>", {}, ("bad", "answers 404, which is not the gate: it does not stand before it")),
        (401, "Unauthorized", {},
         ("bad", "answers 401, which is not the gate: something else asks people to sign in there")),
        (403, refusal("forbidden", "elsewhere"), {}, ("bad", "the gate refuses Traefik: elsewhere")),
    ],
)  # fmt: skip
def test_what_stands_before_a_host(
    status: int, text: str, headers: dict[str, str], expected: tuple[str, str] | None
) -> None:
    found = _before("gate x", Answer(status, headers, text))
    assert (None if found is None else (found.state, found.message)) == expected


@pytest.mark.parametrize(
    ("status", "location", "expected"),
    [
        (
            303,
            "https://pay.example.com/buy/skai?t=x",
            ("bad", "any client can sign in as any user by sending Remote-User"),
        ),
        (302, "https://auth.example.com/", ("not checked", "https://auth.example.com/ answers before the gate does")),
    ],
)
def test_a_header_that_any_client_can_send_identifies_no_user(
    status: int, location: str, expected: tuple[str, str]
) -> None:
    found = _before("gate x", Answer(status, {"Location": location}, ""), ["Remote-User"])
    assert found is not None
    assert (found.state, found.message) == expected


@pytest.mark.parametrize(
    ("status", "text", "location", "state", "message"),
    [
        (401, "{}", "", "not checked", "oauth2-proxy@file answers 401 before the gate does"),
        (401, "Unauthorized\n", "", "not checked", "oauth2-proxy@file answers 401 before the gate does"),
        (403, "<html>", "", "not checked", "oauth2-proxy@file answers 403 before the gate does"),
        (302, "", "https://sso.example.com/?b", "not checked", "https://sso.example.com/ answers before the gate does"),
        (403, refusal("forbidden", MESSAGE), "", "bad", f"the gate refuses Traefik: {MESSAGE}"),
        (200, "<html>", "", "bad", "answers 200, which is not the gate: it does not stand before it"),
        (303, "", "https://pay.example.com/buy/skai?t=x", "bad",
         "any client can sign in as any user by sending X-Auth-Request-User"),
    ],
)  # fmt: skip
def test_a_sign_in_proxy_before_the_gate_is_no_fault_and_hides_none(
    status: int, text: str, location: str, state: str, message: str
) -> None:
    """oauth2-proxy answers a browser with its sign-in page, and 401 to a client that accepts JSON."""
    answer = Answer(status, {"Location": location} if location else {}, text)
    found = _before("gate x", answer, ["X-Auth-Request-User"], ["oauth2-proxy@file"])
    assert found is not None
    assert (found.state, found.message) == (state, message)
    if state == "not checked":
        assert "skpay doctor --traefik-api" in found.remedy


async def test_what_is_forged_is_what_the_app_would_believe(installation: Installation) -> None:
    """The chat identifies users by a header, the blog has rules by method; each has its own spoofable header."""
    got: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        names = [name for name in ("Remote-User", "X-HTTP-Method-Override") if name in request.headers]
        got.extend((request.host.partition(".")[0], name) for name in names)
        if request.path == "/.skpayments/arrived":
            return web.json_response({"headers": []})
        return web.json_response({"error": "sign_in_required"}, status=401)

    async with public(answer) as url:
        tree = json.loads((installation.folder / "apps.json").read_text())
        tree["apps"][0]["identity"] = [{"kind": "header", "name": "Remote-User", "after": "authelia@file"}]
        for app, host in zip(tree["apps"], ("chat.localhost", "blog.localhost"), strict=True):
            app["hosts"], app["urls"] = [host], {"success": f"{url}/", "cancel": f"{url}/"}
        tree["apps"][1]["routes"] = [{"path": "/write", "min_tier": "patron", "methods": ["POST"]}]
        tree["routing"] = {"traefik_url": "http://127.0.0.1:9"}
        (installation.folder / "apps.json").write_text(json.dumps(tree))
        await findings(installation, "gate", PUBLIC_URL=url)
    assert sorted(got) == [("blog", "X-HTTP-Method-Override"), ("chat", "Remote-User")]


TAGS = [("X-Sk-App", False), ("X-Sk-Tier", False), ("X-Sk-Features", False), ("X-Forwarded-Host", False)]


@pytest.mark.parametrize(
    ("more", "state", "message"),
    [
        ([], "ok", NONE_ARRIVED),
        (
            [("X-Forwarded-For", False)],
            "ok",
            NONE_ARRIVED,
        ),
        ([("X_sk_tier", True)], "bad", "forged headers reach the app: X_sk_tier"),
        ([("Xsk-Tier", True)], "bad", "forged headers reach the app: Xsk-Tier"),
        ([("X-Sk-Tier", True)], "bad", "forged headers reach the app: X-Sk-Tier"),
        ([("X-Original-Url", True)], "bad", "forged headers reach the app: X-Original-Url"),
        ([("X-Forwarded-Uri", True)], "bad", "forged headers reach the app: X-Forwarded-Uri"),
        ([("X-Sk-Gate", False)], "bad", "the app gets the gate's secret (X-SK-Gate)"),
        ([("X-Forwarded-For", True)], "warning", "the app gets a client's own values: X-Forwarded-For"),
        ([("X_forwarded_for", True)], "bad", "forged headers reach the app: X_forwarded_for"),
        ([("X-Http-Method-Override", True)], "bad", "forged headers reach the app: X-Http-Method-Override"),
    ],
)
def test_what_arrives_is_judged(more: list[tuple[str, bool]], state: str, message: str) -> None:
    found = _judged("gate x", [*TAGS, *more], 9)
    assert (found.state, found.message) == (state, message)


def test_tags_that_do_not_arrive_are_reported() -> None:
    assert _judged("gate x", TAGS[2:], 9).message == "the app does not get X-SK-App and X-SK-Tier"

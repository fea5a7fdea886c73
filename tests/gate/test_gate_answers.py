"""The gate's answers."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from access.access_samples import NOW, SESSION_SECRET, session, token, with_app
from gate.gate_stage import GATE_SECRET, LINK_KEY, OLD_GATE_SECRET, Answer, ask, exchange, head, raw, stage
from prometheus_client.parser import text_string_to_metric_families

from gateway.access import links
from gateway.access.app_access import app_access
from gateway.catalog.identity import UserKeyIdentity
from gateway.gate import GateHandler
from gateway.gate.forward_auth import NOT_VERIFIED
from gateway.metrics import Registry
from gateway.settings import Secret

HTML = ("Accept", "text/html,application/xhtml+xml")
NAVIGATE = ("Sec-Fetch-Mode", "navigate")


def refused(answer: Answer) -> tuple[int, object]:
    """Status and code of a refusal; checks what every refusal must have."""
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Cloudflare-CDN-Cache-Control") == "no-store"
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Content-Length") == str(len(answer.body))
    assert isinstance(answer.json["message"], str)
    assert str(answer.json["detail"])[-1] in ".)"
    return answer.status, answer.json["error"]


async def test_every_request_that_passes_is_tagged() -> None:
    async with stage() as on:
        assert (await ask(on.port, user="alice")).tags == ("skai", "alice", "pro", "images")
        assert (await ask(on.port, user="bob")).tags == ("skai", "bob", "free", "")
        assert (await ask(on.port)).tags == ("skai", None, "free", "")
        assert (await ask(on.port, uri="/static/x", user="alice")).tags == ("skai", "alice", "pro", "images")
        key = await ask(on.port, more=[("Authorization", "Bearer skp_alice")])
        assert key.tags == ("skai", "alice", "pro", "images")
        assert (key.status, key.body) == (200, b"")


async def test_t1_a_user_id_cannot_write_a_header() -> None:
    async with stage() as on:
        odd = await ask(on.port, user="Zo\u00eb 100%")
        assert odd.tags == ("skai", "Zo%C3%AB%20100%25", "free", "")
        for name in ("a\r\nX-SK-Tier: max", "a\nb", "\u2028"):
            answer = await ask(on.port, user=name)
            assert refused(answer) == (401, "sign_in_required")
            assert answer.header("X-SK-Tier") is None


async def test_a_paid_path_asks_for_a_tier() -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/pro/x", user="bob")
        assert refused(answer) == (402, "tier_required")
        assert answer.header("X-SK-Tier") == "free"
        result = {key: value for key, value in answer.json.items() if key not in ("upgrade_url", "detail")}
        assert result == {
            "error": "tier_required", "message": "this needs the tier Pro", "required_tier": "pro",
            "current_tier": "free",
        }  # fmt: skip
        assert _buyer(str(answer.json["upgrade_url"])) == "bob"
        assert (await ask(on.port, uri="/pro/x", user="alice")).status == 200
        assert on.count("skai", "free", "tier_required") == 1


@pytest.mark.parametrize("more", [[HTML], [NAVIGATE], [HTML, NAVIGATE]])
async def test_a_browser_is_redirected_to_the_plans_page(more: list[tuple[str, str]]) -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/pro/x", user="bob", more=more)
        assert (answer.status, answer.body, answer.header("X-SK-Tier")) == (303, b"", "free")
        assert _buyer(answer.header("Location") or "") == "bob"
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("Referrer-Policy") == "no-referrer"


def _buyer(url: str) -> str:
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "pay.example.com", "/buy/skai")
    (link,) = parse_qs(parts.query)["t"]
    return links.verify([LINK_KEY], link, "skai", NOW + 599)


def _link(answer: Answer) -> links.Link:
    (link,) = parse_qs(urlsplit(answer.header("Location") or "").query)["t"]
    return links.read([LINK_KEY], link, "skai", NOW)


async def test_the_plans_link_returns_to_the_refused_page() -> None:
    async with stage() as on:
        output = _link(await ask(on.port, uri="/pro/x?a=1&b=%2F%20", user="bob", more=[NAVIGATE]))
        assert (output.return_url, output.tier) == ("https://chat.example.com/pro/x?a=1&b=%2F%20", "pro")
        for changes in ({"uri": "/pro/" + "x" * 1100}, {"uri": "/pro/x", "method": "POST"}):
            output = _link(await ask(on.port, user="bob", more=[NAVIGATE], **changes))
            assert (output.return_url, output.tier) == ("", "pro")


@pytest.mark.parametrize(
    ("query", "back", "tier"),
    [
        ("", "", ""),
        ("?back=/notes/5%3Fx%3D1", "https://chat.example.com/notes/5?x=1", ""),
        ("?back=/pro/x", "https://chat.example.com/pro/x", "pro"),
        ("?back=//evil.example/", "https://chat.example.com//evil.example/", ""),
        ("?back=/%5Cevil.example", "https://chat.example.com/%5Cevil.example", ""),
        ("?back=https://evil.example/", "", ""),
        ("?back=@evil.example/", "", ""),
        ("?back=/a&back=/b", "", ""),
        ("?back=" + "/" * 2000, "", ""),
    ],
)
async def test_the_upgrade_path_returns_to_the_same_host_only(query: str, back: str, tier: str) -> None:
    async with stage() as on:
        output = _link(await ask(on.port, uri=f"/.skpayments/upgrade{query}", user="bob"))
        assert (output.user_id, output.return_url, output.tier) == ("bob", back, tier)


@pytest.mark.parametrize("uri", ["/.skpayments/upgrade", "/.skpayments/upgrade/", "/.skpayments/upgrade?from=menu"])
async def test_the_upgrade_path_redirects_to_the_plans_page(uri: str) -> None:
    async with stage(with_app(sign_in_url="https://chat.example.com/auth")) as on:
        answer = await ask(on.port, uri=uri, user="alice")
        assert answer.status == 303
        assert _buyer(answer.header("Location") or "") == "alice"
        assert refused(await ask(on.port, uri=uri)) == (401, "sign_in_required")
        page = await ask(on.port, uri=uri, more=[HTML])
        assert (page.status, page.header("Location")) == (303, "https://chat.example.com/auth")
        assert (await ask(on.port, uri=uri, user="alice", method="POST")).status == 200
        assert (await ask(on.port, uri="/.skpayments%2fupgrade", user="alice")).status == 200


async def test_signing_in() -> None:
    async with stage(with_app(anonymous="refuse", sign_in_url="https://chat.example.com/auth?x=1")) as on:
        answer = await ask(on.port)
        assert refused(answer) == (401, "sign_in_required")
        assert answer.header("Set-Cookie") is None
        page = await ask(on.port, more=[NAVIGATE])
        assert (page.status, page.header("Location")) == (303, "https://chat.example.com/auth?x=1")
        # a redirect from the sign-in page to itself would never end
        assert refused(await ask(on.port, uri="/auth", more=[NAVIGATE])) == (401, "sign_in_required")
        assert on.count("skai", "", "sign_in_required") == 3


async def test_a_browser_gets_a_page_without_a_sign_in_url() -> None:
    async with stage(with_app(anonymous="refuse")) as on:
        assert refused(await ask(on.port)) == (401, "sign_in_required")
        page = await ask(on.port, more=[NAVIGATE])
        assert (page.status, page.header("Content-Type")) == (401, "text/html; charset=utf-8")
        assert page.header("Content-Security-Policy") == "default-src 'none'"
        assert page.header("Cache-Control") == "no-store"
        assert b"<p>Sign in to use this.</p>" in page.body
        assert on.count("skai", "", "sign_in_required") == 2


async def test_a_location_cannot_write_a_header_either() -> None:
    url = "https://chat.example.com/\u00e9 \r\nX-SK-Tier: max?a=%20b"
    async with stage(with_app(anonymous="refuse", sign_in_url=url)) as on:
        page = await ask(on.port, more=[NAVIGATE])
        assert page.header("Location") == "https://chat.example.com/%C3%A9%20%0D%0AX-SK-Tier:%20max?a=%20b"
        assert page.header("X-SK-Tier") is None


STALE = token({"id": "alice", "exp": NOW - 100}, secret=SESSION_SECRET).decode()
FOREIGN = token({"id": "alice"}, secret="the secret of another site, not this app").decode()
GOOD = session("alice").decode()


@pytest.mark.parametrize(
    "cookie", [f"token={STALE}", f"token={FOREIGN}", "token=x", "token=", f"token={GOOD}; token=x"]
)
@pytest.mark.parametrize("more", [[], [("X-Api-Key", FOREIGN)], [("Authorization", "Bearer undefined")]])
async def test_an_invalid_cookie_does_not_block_the_sign_in_page(cookie: str, more: list[tuple[str, str]]) -> None:
    sent = [("Cookie", cookie), *more] if cookie != "token=" else [("Cookie", cookie), *more[1:]]
    async with stage() as on:
        for uri in ("/", "/auth", "/api/config", "/static/x"):
            answer = await ask(on.port, uri=uri, more=sent)
            assert (answer.status, answer.tags) == (200, ("skai", None, "free", ""))
        for uri in ("/pro", "/video"):
            assert refused(await ask(on.port, uri=uri, more=sent)) == (401, "sign_in_required")


async def test_an_invalid_cookie_never_falls_through_to_a_valid_credential() -> None:
    async with stage() as on:
        for cookie in (STALE, FOREIGN, "x"):
            sent = [("Cookie", f"token={cookie}"), ("X-Api-Key", GOOD)]
            assert (await ask(on.port, more=sent)).tags == ("skai", None, "free", "")
            assert refused(await ask(on.port, uri="/pro", more=sent)) == (401, "sign_in_required")


async def test_a_session_behind_a_thousand_cookies_is_not_signed_out() -> None:
    """Open WebUI finds it there, and would serve a user without tags and without limits in LiteLLM."""
    async with stage() as on:
        answer = await ask(on.port, more=[("Cookie", "a=" + ";" * 1001 + f"token={GOOD}")])
        assert refused(answer) == (401, "sign_in_required")


async def test_invalid_sessions_are_counted() -> None:
    def counted(code: str) -> float:
        return on.gate.registry.counter(*NOT_VERIFIED).of("skai", code).value

    async with stage() as on:
        for cookie in (STALE, FOREIGN, FOREIGN):
            for uri in ("/", "/pro"):
                await ask(on.port, uri=uri, more=[("Cookie", f"token={cookie}")])
        await ask(on.port, more=[("Authorization", f"Bearer {FOREIGN}")])
        assert (counted("expired_token"), counted("wrong_signature")) == (2, 4)


async def test_an_invalid_cookie_is_cleared_where_it_is_refused() -> None:
    stale = STALE
    async with stage() as on:
        answer = await ask(on.port, uri="/pro", more=[("Cookie", f"token={stale}")])
        assert refused(answer) == (401, "sign_in_required")
        assert answer.json["message"] == "the session has expired"
        assert answer.header("Set-Cookie") == "token=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        public = await ask(on.port, uri="/static/x", more=[("Cookie", f"token={stale}")])
        assert (public.status, public.tags) == (200, ("skai", None, "free", ""))
        bearer = await ask(on.port, more=[("Authorization", f"Bearer {stale}")])
        assert (bearer.status, bearer.header("Set-Cookie")) == (401, None)


@pytest.mark.parametrize("target", ["/gate?app=skai", "/gate?app=nowhere", "/traefik", "/metrics", "/x", "*"])
@pytest.mark.parametrize(
    "more",
    [
        [],
        [("X-Sk-Gate", "wrong")],
        [("X-Sk-Gate", "")],
        [("X-Sk-Gate", GATE_SECRET[:-1])],
        [("X-Sk-Gate", GATE_SECRET + "x")],
        [("X-Sk-Gate", GATE_SECRET), ("X-Sk-Gate", GATE_SECRET)],
        [("X-Sk-Gate", "wrong"), ("Authorization", f"Bearer {GATE_SECRET}")],
        [("Authorization", "Bearer wrong")],
        [("Authorization", f"Basic {GATE_SECRET}")],
        [("X_Sk_Gate", GATE_SECRET)],
    ],
)
async def test_without_the_secret_every_answer_is_403(target: str, more: list[tuple[str, str]]) -> None:
    async with stage() as on:
        on.document = b"{}"
        lines = head(secret=None, user="alice", more=more)
        (answer,) = await exchange(on.port, raw(lines, target))
        assert refused(answer) == (403, "forbidden")
        assert answer.header("X-SK-Tier") is None
        assert on.count("", "", "forbidden") == 1


async def test_the_secret_in_any_spelling_while_it_is_rolled_or_as_bearer() -> None:
    async with stage() as on:
        for name in ("X-SK-Gate", "x-sk-gate", "X-Sk-Gate"):
            answer = await ask(on.port, secret=None, user="alice", more=[(name, OLD_GATE_SECRET)])
            assert answer.tags == ("skai", "alice", "pro", "images")
        lines = head(secret=None, user="alice", more=[("Authorization", f"Bearer {GATE_SECRET}")])
        (answer,) = await exchange(on.port, raw(lines))
        assert answer.tags == ("skai", "alice", "pro", "images")  # the Bearer was the gate secret: the cookie decides


@pytest.mark.parametrize(
    "host", ["CHAT.example.com", "chat.example.com.", "chat.example.com:443", "sk.test", "SK.Test.:80"]
)
async def test_hosts_of_the_app(host: str) -> None:
    async with stage() as on:
        assert (await ask(on.port, host=host)).status == 200


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "sk.test:", "sk.test:x", "xsk.test", "sk.test.evil.example"]
)
async def test_other_hosts_are_refused(host: str | None) -> None:
    async with stage() as on:
        assert refused(await ask(on.port, host=host, user="alice")) == (403, "forbidden")
        assert on.count("skai", "", "wrong_host") == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"uri": None}, 400),
        ({"uri": ""}, 400),
        ({"uri": "pro"}, 400),
        ({"uri": "http://chat.example.com/pro"}, 400),
        ({"method": None}, 400),
        ({"method": ""}, 400),
        ({"method": "GET POST"}, 400),
        ({"method": "TRACE"}, 405),
        ({"method": "PROPFIND"}, 200),
        ({"method": "M-SEARCH"}, 200),
    ],
)
async def test_requests_without_traefiks_headers_are_refused(changes: dict[str, str | None], status: int) -> None:
    async with stage() as on:
        assert (await ask(on.port, **changes)).status == status


@pytest.mark.parametrize("name", ["X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Method", "x-forwarded-uri"])
async def test_repeated_headers_of_traefik_are_refused(name: str) -> None:
    async with stage() as on:
        values = {"x-forwarded-host": "chat.example.com", "x-forwarded-uri": "/", "x-forwarded-method": "GET"}
        answer = await ask(on.port, uri="/pro", more=[(name, values[name.lower()])])
        assert answer.status in (400, 403)


async def test_tags_in_a_request_are_ignored() -> None:
    async with stage() as on:
        more = [("X-SK-Tier", "max"), ("X-SK-User", "root"), ("X_SK_Tier", "max"), ("X-SK-Features", "video")]
        assert (await ask(on.port, user="bob", more=more)).tags == ("skai", "bob", "free", "")
        assert (await ask(on.port, uri="/pro", user="bob", more=more)).status == 402


@pytest.mark.parametrize(
    "target",
    ["/gate", "/gate?", "/gate?app=", "/gate?app=nowhere", "/gate?app=skai&app=skai", "/gate?app=skai&x=1",
     "/gate?App=skai", "/gate?x=1", "/gate?app=%ff", "/gate?app=skai%00", "/gate/?app=skai", "/Gate?app=skai", "/",
     "/gate/x"],
)  # fmt: skip
async def test_unknown_addresses_are_not_found(target: str) -> None:
    async with stage() as on:
        assert refused(await ask(on.port, target)) == (404, "not_found")


async def test_an_app_id_may_be_percent_encoded() -> None:
    async with stage() as on:
        assert (await ask(on.port, "/gate?app=%73kai", user="alice")).tags == ("skai", "alice", "pro", "images")


async def test_while_not_ready_it_answers_503_with_retry_after() -> None:
    async with stage(ready=False) as on:
        for target in ("/gate?app=skai", "/traefik"):
            answer = await ask(on.port, target)
            assert refused(answer) == (503, "not_ready")
            assert answer.header("Retry-After") == "2"
        assert (await ask(on.port, "/metrics")).status == 200
        on.gate.ready = True
        assert (await ask(on.port)).status == 200


async def test_t43_the_dynamic_configuration_is_complete_or_503() -> None:
    async with stage() as on:
        assert refused(await ask(on.port, "/traefik")) == (503, "not_ready")
        on.document = b'{"http": {}}'
        answer = await ask(
            on.port, "/traefik", more=[("If-None-Match", "*"), ("If-Modified-Since", "Tue, 01 Jan 2030")]
        )
        assert (answer.status, answer.body) == (200, b'{"http": {}}')
        assert answer.header("Content-Type") == "application/json"
        assert answer.header("ETag") is None


async def test_metrics_are_readable_by_prometheus() -> None:
    """T36: the memory of credentials is separate from the table's."""
    async with stage() as on:
        for _ in range(2):
            await ask(on.port, user="alice")
        await ask(on.port)
        lines = [("Host", "x"), ("Authorization", f"Bearer {GATE_SECRET}")]
        (answer,) = await exchange(on.port, raw(lines, "/metrics"))
        assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
        counts = {tuple(sample.labels.values()): sample.value for sample in families["skpay_gate_requests"].samples}
        assert counts["skai", "pro", "allowed"] == 2
        assert counts["skai", "free", "anonymous"] == 1
        gauges = {name: families[f"skpay_{name}"].samples[0].value for name in (
            "tier_table_users", "tier_table_bytes", "cached_credentials", "cached_credentials_bytes"
        )}  # fmt: skip
        assert (gauges["tier_table_users"], gauges["cached_credentials"]) == (1, 1)
        assert min(gauges.values()) > 0
        on.gate.install({})
        assert 'skpay_cached_credentials_bytes{app="skai"}' not in on.gate.registry.render()
        (count,) = (s.value for s in families["skpay_gate_seconds"].samples if s.name == "skpay_gate_seconds_count")
        assert count == 3


async def test_t3_a_first_seen_user_is_reported_once() -> None:
    async with stage() as on:
        for _ in range(3):
            await ask(on.port, user="bob")
            await ask(on.port, user="alice")
            await ask(on.port)
        assert on.received == [("skai", "bob")]


async def test_t3_a_report_that_was_not_accepted_is_repeated() -> None:
    async with stage() as on:
        result: list[str] = []

        def on_first_seen(app_id: str, user_id: str) -> bool:
            result.append(user_id)
            return len(result) > 2

        on.gate._first_seen._report = on_first_seen
        for _ in range(5):
            await ask(on.port, user="bob")
        assert result == ["bob"] * 3


async def test_a_report_that_fails_is_retried_and_the_request_passes(caplog: pytest.LogCaptureFixture) -> None:
    async with stage() as on:
        result = []

        def on_first_seen(app_id: str, user_id: str) -> None:
            result.append(user_id)
            raise RuntimeError("queue is full")

        on.gate._first_seen._report = on_first_seen
        for _ in range(2):
            assert (await ask(on.port, user="bob")).status == 200
        assert result == ["bob", "bob"]
        assert "first_seen_users_failed" in caplog.text


async def test_a_tier_change_applies_to_the_next_request() -> None:
    async with stage() as on:
        assert (await ask(on.port, uri="/pro", user="bob")).status == 402
        on.table.set("skai", "bob", "max")
        assert (await ask(on.port, uri="/pro", user="bob")).tags == ("skai", "bob", "max", "images,video")
        on.table.remove("skai", "bob")
        assert (await ask(on.port, uri="/pro", user="bob")).status == 402


async def test_a_reload_changes_all_apps_at_once() -> None:
    async with stage() as on:
        blog = with_app(
            app_id="blog", hosts=("blog.example.com",), routes=(), identity=(UserKeyIdentity(),), enforce=False
        )
        on.gate.install({"blog": app_access(blog, {}, {})})
        assert (await ask(on.port)).status == 404
        assert (await ask(on.port, "/gate?app=blog", host="blog.example.com")).tags == ("blog", None, "free", "")
        assert (await ask(on.port, "/gate?app=blog", host="chat.example.com")).status == 403


async def test_without_enforce_what_would_be_refused_is_counted() -> None:
    async with stage(with_app(enforce=False)) as on:
        assert (await ask(on.port, uri="/pro", user="bob")).tags == ("skai", "bob", "free", "")
        assert (await ask(on.port, uri="/pro")).tags == ("skai", None, "free", "")
        assert (await ask(on.port, more=[("Authorization", "Bearer x")])).tags == ("skai", None, "free", "")
        assert (await ask(on.port, more=[("Cookie", "token=x")])).tags == ("skai", None, "free", "")
        assert on.count("skai", "free", "would_tier_required") == 1
        assert on.count("skai", "free", "would_sign_in_required") == 2
        assert (on.count("skai", "free", "allowed"), on.count("skai", "free", "anonymous")) == (0, 1)


async def test_a_method_in_lower_case_bypasses_no_rule() -> None:
    """`/upload` needs a tier for POST and PUT; many frameworks read `post` as POST."""
    async with stage() as on:
        for method in ("post", "Post", "pUT", "patch", "propfind"):
            assert (await ask(on.port, uri="/upload", user="bob", method=method)).status == 400
        for method, status in (("POST", 402), ("PUT", 402), ("PROPFIND", 402), ("M-SEARCH", 402), ("PATCH", 200)):
            assert (await ask(on.port, uri="/upload", user="bob", method=method)).status == status


ORIGIN, ASKED = ("Origin", "https://other.example"), ("Access-Control-Request-Method", "POST")


@pytest.mark.parametrize(
    ("method", "more", "status"),
    [
        ("OPTIONS", [ORIGIN, ASKED], 200),
        ("OPTIONS", [ORIGIN], 401),
        ("OPTIONS", [ASKED], 401),
        ("OPTIONS", [], 401),
        ("GET", [ORIGIN, ASKED], 401),
        ("OPTIONS", [ORIGIN, ASKED, ("Cookie", "a=b")], 401),
        ("OPTIONS", [ORIGIN, ASKED, ("Authorization", "Basic x")], 401),
        ("OPTIONS", [ORIGIN, ASKED, ("X-HTTP-Method-Override", "DELETE")], 200),
    ],
)
async def test_a_preflight_is_only_what_a_browser_sends(method: str, more: list[tuple[str, str]], status: int) -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/pro", method=method, more=more)
        assert answer.status == status
        if status == 200:
            assert answer.tags == ("skai", None, "free", "")


async def test_a_real_http_client_works_with_it() -> None:
    async with stage() as on, aiohttp.ClientSession() as client:
        for user, tier in [("alice", "pro"), ("bob", "free")] * 5:
            headers = dict(head(user=user))
            async with client.get(f"{on.url}/gate?app=skai", headers=headers) as answer:
                assert (answer.status, answer.headers["X-SK-User"], answer.headers["X-SK-Tier"]) == (200, user, tier)
        assert on.gate.registry.gauge("skpay_gate_connections", "").of().value == 1


async def test_readiness_does_not_depend_on_the_secret_but_its_details_do() -> None:
    async with stage(ready=False) as on:
        assert (await ask(on.port, "/ready", secret=None)).status == 503
        assert (await ask(on.port, "/ready")).status == 503
        on.gate.problems = lambda: {"changes": "the database is away"}
        on.gate.ready = True
        found = await ask(on.port, "/ready", secret=None)
        assert (found.status, json.loads(found.body)) == (200, {"ready": True, "problems": None})
        found = await ask(on.port, "/ready", secret="wrong")
        assert json.loads(found.body)["problems"] is None
        found = await ask(on.port, "/ready")
        expected = {"ready": True, "problems": {"changes": "the database is away"}}
        assert (found.status, json.loads(found.body)) == (200, expected)


def test_a_gate_without_a_secret_is_refused() -> None:
    for secrets in ((), (Secret(""),)):
        with pytest.raises(ValueError, match="secret"):
            GateHandler(
                secrets=secrets, public_url="", table=None, sign_link=None, registry=Registry(),  # type: ignore[arg-type]  # never used
            )  # fmt: skip

"""Every class of attack known against ForwardAuth, through the real Traefik: first against a naive configuration,
where it works, then against ours, where it must not. An attack that the naive configuration withstands proves nothing.

| #  | class                       | where                                                                            |
|----|-----------------------------|----------------------------------------------------------------------------------|
| 1  | Connection strips headers   | `test_what_a_connection_header_names…`; Traefik 3.7.15 lets no tag be stripped   |
| 2  | underscores                 | FORGED_TAGS, FORGED_PLACES                                                       |
| 3  | dots and other separators   | FORGED_TAGS                                                                      |
| 4  | headerField in other case   | not here: nothing we render has a headerField                                    |
| 5  | X-Forwarded-Prefix, -Port   | FORGED_PLACES                                                                    |
| 6  | X-Forwarded-Uri believed    | WAYS_IN                                                                          |
| 7  | paths in other spellings    | WAYS_IN, and all of test_hostile_matrix.py                                       |
| 8  | rootless targets            | CLOSED_BY_TRAEFIK, by 3.7.15 whatever is configured; 3.7.9 let them through      |
| 9  | smuggling, h2c, CONNECT     | test_hostile_framing.py, closed by Traefik itself                                |
| 10 | fragments                   | CLOSED_BY_TRAEFIK                                                                |
| 11 | an endless answer of a gate | tests/routing: ours answers nothing large, so a stand-in must                    |
| 12 | large headers               | test_hostile_framing.py                                                          |
| 13 | errors middleware leaks     | not here: nothing we render has one                                              |
| 14 | two session cookies         | WAYS_IN                                                                          |
| 15 | the visitor's address       | `test_a_forged_client_address_is_ignored`                              |
| 16 | the gate asked directly     | `test_the_gate_answers_traefik_only`                               |
| 17 | health checks by user agent | WAYS_IN                                                                          |
| 18 | methods                     | WAYS_IN                                                                          |
| 19 | HTTP/3, NTLM                | not here: we render no HTTP/3 entry point; Traefik's own fix is in 3.7.13        |
| 20 | TLS options                 | not here: no client certificates                                                 |
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hostile.echo_backend import Got
from hostile.hostile_stage import ENTRIES, FREE, ON_OURS, PRO, TAGS, Entry, HostileStage, cookie, token
from hostile.raw_client import ask, request
from servers.running import GATE_SECRET

pytestmark = [pytest.mark.needs_traefik, pytest.mark.asyncio(loop_scope="session")]

BOTH: tuple[Entry, ...] = ENTRIES
TUNNEL: tuple[Entry, ...] = ("trusted",)

BOB, ALICE = cookie(FREE), cookie(PRO)
BOBS_BEARER = ("Authorization", f"Bearer {token(FREE)}")


@dataclass
class WayIn:
    """A request beyond its sender's tier. `naive` is where the naive configuration serves it; `ours` is
    what we answer everywhere."""

    name: str
    raw: bytes
    ours: int
    naive: tuple[Entry, ...] = field(default=BOTH)

    def __repr__(self) -> str:
        return self.name


def _path(target: str, ours: int = 401) -> WayIn:
    return WayIn(target, request(target), ours)


def _lie(name: str, *lies: tuple[str, str], ours: int = 401, naive: tuple[Entry, ...] = BOTH) -> WayIn:
    return WayIn(name, request("/pro", lies), ours, naive)


WAYS_IN = [
    # 7: one parser reads it as public or free, another as paid
    _path("/PRO/x"),
    _path("/%50%52%4F"),
    _path("/static%2f..%2fpro"),
    _path("/static/..%2Fpro"),
    _path("/static/..\\pro"),
    _path("/static/..%5cpro"),
    _path("/static/%252e%252e/pro"),
    _path("/static/..;/pro"),
    _path("/x/..;/pro"),
    _path("/%2fpro"),
    _path("/%5cpro"),
    _path("/%ef%bc%8fpro"),
    _path("/%c0%afpro"),
    _path("/static/%c0%ae%c0%ae/pro"),
    _path("/x%2f..%2fpro"),
    # 6: headers about the request that contradict the request
    _lie("X-Forwarded-Uri", ("X-Forwarded-Uri", "/static/x"), naive=TUNNEL),
    _lie("X-Forwarded-Method", ("X-Forwarded-Method", "OPTIONS"), naive=TUNNEL),
    _lie("X-Forwarded-Host", BOB, ("X-Forwarded-Host", "blog.test"), ours=402, naive=TUNNEL),
    _lie("X-Original-URL", ("X-Original-URL", "/static/x")),
    _lie("X-Rewrite-URL", ("X-Rewrite-URL", "/static/x")),
    # 14, and two credentials: the one that pays is not the one that acts
    # (Of two cookies Open WebUI acts on the last one, of all lines, and takes its quotes off.)
    _lie("two cookies in one line", ("Cookie", f"token={token(PRO)}; token={token(FREE)}"), ours=402, naive=()),
    _lie("two cookie lines", ALICE, BOB, ours=402),
    _lie("a cookie that pays, a quoted one that acts", ALICE, ("Cookie", f'token="{token(FREE)}"'), ours=402),
    _lie("a cookie that pays, one that does not verify", ALICE, ("Cookie", "token=x.y.z")),
    _lie(
        "a key that pays, a token under another scheme",
        ("X-Api-Key", token(PRO)),
        ("Authorization", f"Foo {token(FREE)}"),
        naive=(),
    ),
    _lie("a cookie that pays, a Bearer that acts", ALICE, BOBS_BEARER, ours=402),
    _lie("a cookie that pays, a Bearer that is none", ALICE, ("Authorization", "Bearer x")),
    _lie("a cookie after a comma", ("Cookie", f"a=b, token={token(PRO)}")),
    # 17, 18
    _lie("a health check", ("User-Agent", "GoogleHC/1.0")),
    WayIn("OPTIONS without a browser", request("/pro", method="OPTIONS"), 401),
    WayIn("OPTIONS with a cookie", request("/pro", [BOB], method="OPTIONS"), 402),
    WayIn("TRACE", request("/", [BOB, ("X-Secret", "s")], method="TRACE"), 405),
    WayIn("TRACK", request("/", [BOB], method="TRACK"), 405),
    # Django, Werkzeug and Symfony convert a method to upper case
    WayIn("post", request("/upload", [BOB], method="post"), 400),
    WayIn("a method to override", request("/upload", [BOB, ("X-HTTP-Method-Override", "GET")], method="POST"), 402),
    WayIn("a method that is none", request("/pro", [("User-Agent", "GoogleHC/1.0")], method="G!T"), 400),
]


@pytest.mark.parametrize(
    ("attack", "entry"), [(attack, entry) for attack in WAYS_IN for entry in attack.naive], ids=str
)
async def test_the_naive_configuration_lets_it_in(stage: HostileStage, attack: WayIn, entry: Entry) -> None:
    reply = await stage.ask("naive", entry, attack.raw)
    assert reply.status == 200
    assert reply.got is not None


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize("attack", WAYS_IN, ids=str)
async def test_our_configuration_refuses_it(stage: HostileStage, attack: WayIn, gate: str, entry: Entry) -> None:
    observed = len(stage.backend.got)
    reply = await stage.ask(gate, entry, attack.raw)
    assert reply.status == attack.ours
    assert len(stage.backend.got) == observed


# Spellings of our tags which some backend, or the CGI convention, reads as the tag.
FORGED_TAGS = (
    "X_SK_Tier", "x_sk_tier", "X-SK_Tier", "X_SK-Tier", "X-SK-Tier_", "X.SK.Tier", "X-SK.Tier", "X!SK!Tier",
    "X~SK~Tier", "X#SK#Tier", "X$SK$Tier", "X%SK%Tier", "X&SK&Tier", "X'SK'Tier", "X*SK*Tier", "X+SK+Tier",
    "X^SK^Tier", "X`SK`Tier", "X|SK|Tier", "X--SK--Tier", "XSK-Tier", "X_SK_User", "x_sk_features", "X-SK-Assertion",
    "X-SK-Anything", "X_SK_Gate", "X-Sk-Keep", "X-SK-Plugin",
)  # fmt: skip


@pytest.mark.parametrize("entry", BOTH)
@pytest.mark.parametrize("name", FORGED_TAGS)
async def test_the_naive_configuration_passes_a_forged_tag_on(stage: HostileStage, name: str, entry: Entry) -> None:
    reply = await stage.ask("naive", entry, request("/", [(name, "forged"), BOB]))
    assert reply.got is not None
    assert reply.got.values(name) == ["forged"]


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize("target", ["/", "/static/x"])
async def test_our_configuration_passes_none_on_in_any_spelling(
    stage: HostileStage, gate: str, entry: Entry, target: str
) -> None:
    everything = [(name, "forged") for name in (*FORGED_TAGS, "X-SK-Tier", "x-sk-user", "X-SK-App", "X-SK-Features")]
    for sender, tags in (([], "anonymous"), ([BOB], "bob"), ([ALICE], "alice")):
        for forged in ([], everything, *([pair] for pair in everything), [*everything, *everything]):
            reply = await stage.ask(gate, entry, request(target, [*forged, *sender]))
            assert reply.got is not None
            assert reply.got.tags == TAGS[tags], forged


@dataclass
class Lie:
    """A header that names another host or path to the app than the gate decided about."""

    name: str
    naive: tuple[Entry, ...]

    def __repr__(self) -> str:
        return self.name


FORGED_PLACES = [
    Lie("X-Forwarded-Uri", TUNNEL), Lie("X-Forwarded-Method", TUNNEL), Lie("X-Forwarded-Prefix", TUNNEL),
    Lie("X-Forwarded-Host", TUNNEL), Lie("X-Original-URL", BOTH), Lie("X-Original-Uri", BOTH),
    Lie("X-Rewrite-URL", BOTH), Lie("X_Original_URL", BOTH), Lie("x_rewrite_url", BOTH),
    Lie("X_Original-URL", BOTH), Lie("X-Rewrite_URL", BOTH), Lie("X.Original.URL", BOTH), Lie("X.Rewrite.Url", BOTH),
    Lie("X_Forwarded_Uri", TUNNEL), Lie("X-Forwarded_Host", TUNNEL), Lie("X_Forwarded-Proto", TUNNEL),
    Lie("X.Forwarded.Host", BOTH), Lie("X!Forwarded!Prefix", BOTH), Lie("X~Forwarded~For", BOTH),
    # `/upload` needs a higher tier for POST than for GET
    Lie("X-HTTP-Method-Override", BOTH), Lie("X-HTTP-Method", BOTH), Lie("x_method_override", BOTH),
    Lie("X-HTTP_Method-Override", BOTH), Lie("X.HTTP.Method.Override", BOTH), Lie("x_http-method", BOTH),
    Lie("X--Method-Override", BOTH), Lie("X-Method-Override_", BOTH), Lie("XHTTPMethodOverride", BOTH),
    Lie("X--Forwarded-Uri", BOTH), Lie("X-Forwarded--Uri", BOTH), Lie("XForwarded-Uri", BOTH),
    Lie("X-Forwarded-Uri.", BOTH), Lie("X--Original-URL", BOTH), Lie("X-Rewrite__URL", BOTH),
]  # fmt: skip


@pytest.mark.parametrize(("lie", "entry"), [(lie, entry) for lie in FORGED_PLACES for entry in lie.naive], ids=str)
async def test_the_naive_configuration_passes_a_false_header_to_the_app(
    stage: HostileStage, lie: Lie, entry: Entry
) -> None:
    """The app serves what the header names; the auth server decided about a free path."""
    reply = await stage.ask("naive", entry, request("/static/x", [(lie.name, "/pro")]))
    assert reply.got is not None
    assert reply.got.values(lie.name) == ["/pro"]


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize("lie", FORGED_PLACES, ids=str)
async def test_our_configuration_passes_no_false_header_to_the_app(
    stage: HostileStage, lie: Lie, gate: str, entry: Entry
) -> None:
    reply = await stage.ask(gate, entry, request("/", [(lie.name, "/pro"), BOB]))
    assert reply.got is not None
    assert "/pro" not in str(reply.got.headers)
    assert reply.got.tags == TAGS["bob"]
    assert reply.got.values("X-Forwarded-Host") == ["sk.test"]


FORGED_USERS = (
    "X-Remote_User", "X_Remote_User", "x_remote-user", "X.Remote.User", "X--Remote-User", "X-Remote-User_",
    "X-RemoteUser", "X~Remote~User", "X-Remote-.User", "X-Remote-User", "x-remote-user",
)  # fmt: skip


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_the_users_header_of_an_sso_is_the_only_one_in_any_spelling(
    stage: HostileStage, gate: str, entry: Entry
) -> None:
    everything = [(name, "mallory") for name in FORGED_USERS]
    for forged in (everything, *([pair] for pair in everything), everything):
        reply = await stage.ask(gate, entry, request("/", forged, host="wiki.test"))
        assert reply.got is not None
        assert "mallory" not in str(reply.got.headers), forged
        assert reply.got.values("X-Remote-User") == ["carol"]
        assert reply.got.tags["x-sk-user"] == "carol"


STRIPPED = (
    "X-SK-Tier", "x-sk-tier", "X-SK-User", "X-SK-Gate", "X_SK_Tier", "X-Forwarded-Host", "X-Forwarded-Uri",
    "x-forwarded-method", "X-Forwarded-For", "X-Real-Ip",
)  # fmt: skip


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_a_connection_header_cannot_remove_tags(stage: HostileStage, gate: str, entry: Entry) -> None:
    for names in (*((name,) for name in STRIPPED), STRIPPED):
        listed = ("Connection", f"close, {', '.join(names)}")
        reply = await stage.ask(gate, entry, request("/pro", [ALICE, listed, ("X_SK_Tier", "max")]))
        assert reply.got is not None
        assert reply.got.tags == TAGS["alice"]
        assert reply.got.values("X-Forwarded-Host") == ["sk.test"]
    # A credential that is stripped is stripped for the gate and for the app alike.
    reply = await stage.ask(gate, entry, request("/", [ALICE, BOBS_BEARER, ("Connection", "close, Authorization")]))
    assert reply.got is not None
    assert (reply.got.tags, reply.got.values("Authorization")) == (TAGS["alice"], [])
    reply = await stage.ask(gate, entry, request("/pro", [ALICE, ("Connection", "close, cookie")]))
    assert reply.status == 401


@pytest.mark.parametrize("entry", BOTH)
async def test_anyone_can_call_the_naive_gate(stage: HostileStage, entry: Entry) -> None:
    """From another container on its network, with a false host."""
    result = [("X-Forwarded-Host", "blog.test"), ("X-Forwarded-Uri", "/"), BOB]
    reply = await ask(int(stage.naive_url.rpartition(":")[2]), request("/auth", result))
    assert (reply.status, reply.header("X-SK-Tier")) == (200, "patron")


async def test_the_gate_answers_traefik_only(stage: HostileStage) -> None:
    port = stage.running.application.gate_port
    result = [("X-Forwarded-Host", "sk.test"), ("X-Forwarded-Uri", "/"), ("X-Forwarded-Method", "GET"), ALICE]
    for proof in ([], [("X-SK-Gate", "guess")], [("X-SK-Gate", "")], [("X_SK_Gate", GATE_SECRET)],
                  [("X-SK-Gate", GATE_SECRET), ("X-SK-Gate", "x")], [("Authorization", "Bearer guess")]):  # fmt: skip
        reply = await ask(port, request("/gate?app=skai", [*result, *proof]))
        assert (reply.status, reply.header("X-SK-Tier")) == (403, None)
    assert (await ask(port, request("/gate?app=skai", [*result, ("X-SK-Gate", GATE_SECRET)]))).status == 200


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_the_gates_paths_lead_to_the_app_from_outside(stage: HostileStage, gate: str, entry: Entry) -> None:
    for target in ("/gate?app=skai", "/gate/changes", "/traefik", "/metrics"):
        reply = await stage.ask(gate, entry, request(target, [("X-SK-Gate", GATE_SECRET), BOB]))
        assert reply.got is not None
        assert (reply.got.target, reply.got.tags) == (target, TAGS["bob"])
        reply = await stage.ask(gate, entry, request(target, [("X-SK-Gate", GATE_SECRET)], host="pay.example.com"))
        # PORT has a /metrics of its own, which takes the gate's secret as Bearer only.
        assert reply.status == (401 if target == "/metrics" else 404)


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_a_forged_client_address_is_ignored(stage: HostileStage, gate: str, entry: Entry) -> None:
    claims = [
        ("X-Forwarded-For", "10.0.0.1"), ("Cf-Connecting-Ip", "10.0.0.1"), ("True-Client-Ip", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1;host=blog.test"), ("X-Real-Ip", "10.0.0.1"), ("X-Forwarded-User", "alice"),
        ("Remote-User", "alice"), ("Host-Override", "blog.test"),
    ]  # fmt: skip
    for sender, status in (([], 401), ([BOB], 402), ([ALICE], 200)):
        reply = await stage.ask(gate, entry, request("/pro", [*claims, *sender]))
        assert reply.status == status
    assert reply.got is not None
    # The last hop is the client, whatever a trusted peer sent before it.
    assert reply.got.values("X-Forwarded-For")[-1].split(", ")[-1] == "127.0.0.1"


# These need no configuration of ours: Traefik 3.7.13 and newer refuse them.
CLOSED_BY_TRAEFIK = [
    ("GET http:sk.test/pro", 400), ("GET sk.test/pro", 400), ("GET /pro#/static", 400), ("GET #/pro", 400),
    ("GET \\pro", 400), ("GET /%zz", 400), ("GET /%u0070ro", 400), ("GET /pro\x7f", 400), ("GET /static /pro", 400),
    ("GET  /pro", 400), ("GET\t/pro", 400), ("CONNECT sk.test:80", 501), ("CONNECT /pro", 501),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "entry"), [*ON_OURS, ("naive", "untrusted")])
@pytest.mark.parametrize(("line", "status"), CLOSED_BY_TRAEFIK)
async def test_a_request_that_traefik_refuses_reaches_no_backend(
    stage: HostileStage, line: str, status: int, gate: str, entry: Entry
) -> None:
    observed, requests = len(stage.backend.got), stage.naive.requests
    reply = await stage.ask(gate, entry, f"{line} HTTP/1.1\r\nHost: sk.test\r\n\r\n".encode("latin-1"))
    assert reply.status == status
    assert (len(stage.backend.got), stage.naive.requests) == (observed, requests)


HOSTS = [
    ("SK.TEST", 200), ("sk.test.", 200), ("sk.test:80", 200), ("sk.test:99999", 200), ("sk.test:", 403),
    ("sk.test:x", 403), ("sk.test:80x", 403), ("sk.test..", 404), ("[sk.test]", 404), ("sk%2etest", 404),
    ("x@sk.test", 400), ("sk.test, blog.test", 400), ("sk.test blog.test", 400), ("sk.test/pro", 400),
    ("sk.test#", 400), ("", 404),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize(("host", "status"), HOSTS)
async def test_a_host_in_another_spelling_is_the_same_host_or_none(
    stage: HostileStage, host: str, status: int, gate: str, entry: Entry
) -> None:
    reply = await stage.ask(gate, entry, request("/pro", [ALICE], host=host))
    assert reply.status == status
    if status == 200:
        assert reply.got is not None
        assert reply.got.tags == TAGS["alice"]
        assert reply.got.values("X-Forwarded-Host") == ["sk.test"]


@pytest.mark.parametrize("host", ["sk.test.", "sk.test:80"])
async def test_the_naive_auth_server_is_fooled_by_another_spelling(stage: HostileStage, host: str) -> None:
    """It looks up the host as it was sent, and finds no user."""
    reply = await stage.ask("naive", "untrusted", request("/", [ALICE], host=host))
    assert reply.got is not None
    assert reply.got.tags["x-sk-tier"] == "free"


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_a_request_with_two_hosts_or_none_is_refused(stage: HostileStage, gate: str, entry: Entry) -> None:
    for raw in (
        request("/", [ALICE, ("Host", "blog.test")]),
        request("/", [ALICE, ("host", "sk.test")]),
        request("/", [ALICE], host=None),
    ):
        assert (await stage.ask(gate, entry, raw)).status == 400
    # An absolute target is the host, as RFC 9112 has it; gate and app agree.
    reply = await stage.ask(gate, entry, request("http://blog.test/pro", [ALICE]))
    assert reply.got is not None
    assert _app_of(reply.got) == ("blog", "blog.test")


def _app_of(got: Got) -> tuple[str, str]:
    return got.tags["x-sk-app"], got.values("X-Forwarded-Host")[0]

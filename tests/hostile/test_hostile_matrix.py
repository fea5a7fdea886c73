"""Every credential, kind of rule, spelling of a path, entry point and gate, against hand-written tables.

The tables say what an operator would say of apps.json; nothing in them is computed by what they test.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

import pytest
from access.access_samples import b64
from hostile.hostile_stage import FREE, MAX, ON_OURS, PRO, TAGS, Entry, HostileStage, token
from hostile.raw_client import Reply, request, send

pytestmark = [pytest.mark.needs_traefik, pytest.mark.asyncio(loop_scope="session")]

# The status of each rule: anonymous, a rejected credential that is no cookie or that the app may accept, free (bob),
# pro (alice), max (mike). An invalid cookie is anonymous.
WHO = ("anonymous", "refused", "bob", "alice", "mike")
ANSWERS = {
    "none":   (200, 401, 200, 200, 200),
    "public": (200, 200, 200, 200, 200),
    "pro":    (401, 401, 402, 200, 200),
    "video":  (401, 401, 402, 402, 200),
}  # fmt: skip

# method, path, its rule, and its rule if the path is ambiguous: then no path is public.
ROUTES = {
    "free":           ("GET", "/x/y", "none", "none"),
    "public":         ("GET", "/static/y", "public", "none"),
    "paid":           ("GET", "/pro/y", "pro", "pro"),
    "public in paid": ("GET", "/pro/logo/y", "public", "pro"),
    "feature":        ("GET", "/video/y", "video", "video"),
    "paid to send":   ("POST", "/upload/y", "pro", "pro"),
    "free to read":   ("GET", "/upload/y", "none", "none"),
    "not a preflight": ("OPTIONS", "/video/y", "video", "video"),
}  # fmt: skip

# Spelling of a path → is it unambiguous? Traefik itself normalises the first ones.
SPELLINGS: dict[str, tuple[Callable[[str], str], bool]] = {
    "plain": (lambda path: path, True),
    "a slash behind": (lambda path: f"{path}/", True),
    "a query": (lambda path: f"{path}?a=/static/..&b=%2f;%00", True),
    "an encoded letter": (lambda path: f"/%{ord(path[1]):02x}{path[2:]}", True),
    "two slashes": (lambda path: f"/{path}", True),
    "two slashes inside": (lambda path: path.replace("/y", "//y"), True),
    "a dot": (lambda path: f"/.{path}", True),
    "up and back": (lambda path: f"/static/..{path}", True),
    "encoded dots": (lambda path: f"/static/%2e%2E{path}", True),
    "an absolute target": (lambda path: f"http://sk.test{path}", True),
    "capitals": (str.upper, False),
    "encoded capitals": (lambda path: f"/%{ord(path[1].upper()):02x}{path[2:]}", False),
    "a parameter": (lambda path: f"{path};x=/static", False),
    "a parameter inside": (lambda path: path.replace("/y", ";a=b/y"), False),
    "an encoded semicolon": (lambda path: path.replace("/y", "%3Ba/y"), False),
    "an encoded slash": (lambda path: path.replace("/y", "%2fy"), False),
    "an encoded way up": (lambda path: f"/static%2f..{path}", False),
    "twice encoded dots": (lambda path: f"/static/%252e%252e{path}", False),
    "twice encoded slash": (lambda path: path.replace("/y", "%252fy"), False),
    "a backslash": (lambda path: path.replace("/y", "\\y"), False),
    "an encoded backslash": (lambda path: f"/static%5c..{path}", False),
    "dots with a parameter": (lambda path: f"/static/..;{path}", False),
    "a null byte": (lambda path: path.replace("/y", "%00/y"), False),
    "a tab": (lambda path: path.replace("/y", "%09/y"), False),
    "a line feed": (lambda path: path.replace("/y", "%0a/y"), False),
    "an encoded question mark": (lambda path: path.replace("/y", "%3f/y"), False),
    "an encoded fragment": (lambda path: path.replace("/y", "%23/y"), False),
    "a dot behind a part": (lambda path: path.replace("/y", "./y"), False),
    "an encoded space behind": (lambda path: path.replace("/y", "%20/y"), False),
    "overlong dots": (lambda path: f"/static/%c0%ae%c0%ae{path}", False),
    "an overlong slash": (lambda path: path.replace("/y", "%c0%afy"), False),
    "a full-width slash": (lambda path: path.replace("/y", "%ef%bc%8fy"), False),
    "full-width letters": (lambda path: f"/{chr(ord(path[1]) + 0xFEE0)}{path[2:]}".encode().decode("latin-1"), False),
}

# Every request has a forged tag of each sort.
FORGED = [("X-SK-Tier", "max"), ("X_SK_Tier", "max"), ("X.SK.User", "mike"), ("x-sk-features", "video")]
_ALG_NONE = b'{"alg": "none"}'
EXPIRED, FOREIGN = token(PRO, -3600), token(PRO, secret="another-secret-of-32-bytes-at-least!")
UNSIGNED = f"{b64(_ALG_NONE)}.{token(PRO).split('.')[1]}."


def _bearer(value: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {value}"


def _session(*values: str) -> tuple[str, str]:
    return "Cookie", "; ".join(f"token={value}" for value in values)


def everybody(stage: HostileStage) -> dict[str, tuple[list[tuple[str, str]], str]]:
    """Credential headers, and the user that they authenticate."""
    bob, alice, mike = token(FREE), token(PRO), token(MAX)
    return {
        "no credential": ([], "anonymous"),
        "a cookie of the app's own": ([("Cookie", "theme=dark; tokens=x; Token=y")], "anonymous"),
        "another scheme": ([("Authorization", "Basic YWxpY2U6cHc=")], "anonymous"),
        "free": ([_session(bob)], "bob"),
        "pro": ([_session(alice)], "alice"),
        "max": ([_session(mike)], "mike"),
        "a Bearer": ([_bearer(alice)], "alice"),
        "a bearer": ([("authorization", f"bEARER {mike}")], "mike"),
        "an x-api-key": ([("X-Api-Key", alice)], "alice"),
        "a user key": ([_bearer(stage.keys[PRO])], "alice"),
        "a free user's key": ([_bearer(stage.keys[FREE])], "bob"),
        "expired": ([_session(EXPIRED)], "anonymous"),
        "another secret": ([_session(FOREIGN)], "anonymous"),
        "unsigned": ([_session(UNSIGNED)], "anonymous"),
        "signature cut short": ([_session(alice[:-1])], "anonymous"),
        "a signature in another spelling": ([_session(f"{alice}!!!!")], "refused"),
        "an empty cookie": ([_session("")], "anonymous"),
        "an empty cookie, a good x-api-key": ([_session(""), ("X-Api-Key", alice)], "alice"),
        "an empty Bearer": ([("Authorization", "Bearer ")], "anonymous"),
        "an empty Bearer, a cookie": ([("Authorization", "Bearer"), _session(alice)], "alice"),
        "undefined": ([_bearer("undefined"), _session(bob)], "bob"),
        "null": ([("authorization", "bEARER null"), ("X-Api-Key", mike)], "mike"),
        "an expired Bearer": ([_bearer(EXPIRED)], "refused"),
        "a token under another scheme": ([("Authorization", f"Basic {bob}"), ("X-Api-Key", alice)], "refused"),
        "a key nobody has": ([_bearer("skp_" + "A" * 43)], "refused"),
        "a key of another app": ([_bearer(stage.keys["erin at blog"])], "refused"),
        "two cookies": ([_session(bob, alice)], "alice"),
        "two cookies, the last one bad": ([_session(alice, FOREIGN)], "anonymous"),
        "two cookies, the first one bad": ([_session(FOREIGN, mike)], "mike"),
        "two lines of cookies": ([_session(alice), _session(bob)], "bob"),
        "a quoted cookie": ([_session(f'"{alice}"')], "alice"),
        "two Bearers": ([_bearer(alice), _bearer(alice)], "refused"),
        "a Bearer before a cookie": ([_session(alice), _bearer(bob)], "bob"),
        "a user key before a cookie": ([_session(mike), _bearer(stage.keys[FREE])], "bob"),
        "a cookie before an x-api-key": ([_session(bob), ("X-Api-Key", mike)], "bob"),
        "a Basic beside a cookie": ([("Authorization", "Basic YTpi"), _session(alice)], "alice"),
        "a bad Bearer, a good cookie": ([_bearer("x.y.z"), _session(alice)], "refused"),
        "a bad cookie, a good x-api-key": ([_session(EXPIRED), ("X-Api-Key", alice)], "anonymous"),
    }  # fmt: skip


def _expected(route: str, one_way: bool, user: str) -> tuple[int, dict[str, str] | None]:
    rule = ROUTES[route][2 if one_way else 3]
    status = ANSWERS[rule][WHO.index(user)]
    # A rejected credential that passes is anonymous.
    return status, TAGS["anonymous" if user == "refused" else user] if status == 200 else None


def _raw(route: str, spelling: str, sent: Iterable[tuple[str, str]]) -> bytes:
    method, path, _, _ = ROUTES[route]
    return request(SPELLINGS[spelling][0](path), [*FORGED, *sent], method=method)


def _got(reply: Reply) -> tuple[int, dict[str, str] | None]:
    return reply.status, reply.got.tags if reply.got is not None else None


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_every_credential_on_every_path(stage: HostileStage, gate: str, entry: Entry, spelling: str) -> None:
    one_way, wrong = SPELLINGS[spelling][1], []
    for name, (sent, user) in everybody(stage).items():
        stream = b"".join(_raw(route, spelling, sent) for route in ROUTES)
        replies = await send(stage.ports[gate, entry], stream, answers=len(ROUTES))
        for route, reply in zip(ROUTES, replies, strict=True):
            if _got(reply) != _expected(route, one_way, user):
                wrong.append(f"{name} at {route}: {_got(reply)}, not {_expected(route, one_way, user)}")
    assert wrong == []
    assert stage.backend.problems == []


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_every_credential_on_every_path_in_any_order(stage: HostileStage, gate: str, entry: Entry) -> None:
    """A cached answer of the gate or plugin must not serve another user; several requests are concurrent."""
    chance = random.Random(5)  # noqa: S311  # the order of the users
    people = everybody(stage)
    todo = [(chance.choice([*people]), chance.choice([*ROUTES]), chance.choice([*SPELLINGS])) for _ in range(600)]
    wrong = []

    async def visitor() -> None:
        while todo:
            name, route, spelling = todo.pop()
            sent, user = people[name]
            reply = await stage.ask(gate, entry, _raw(route, spelling, sent))
            if _got(reply) != _expected(route, SPELLINGS[spelling][1], user):
                wrong.append(f"{name} at {route}, {spelling}: {_got(reply)}")

    await asyncio.gather(*(visitor() for _ in range(6)))
    assert wrong == []


async def test_the_plugin_answers_most_of_these_by_what_it_keeps(stage: HostileStage) -> None:
    """Otherwise the tests above would test the gate alone."""
    requests = []
    people = everybody(stage).values()  # once: a token differs in the next second
    for _ in range(2):
        before = stage.requests()
        for sent, _ in people:
            stream = b"".join(_raw(route, "plain", sent) for route in ROUTES)
            await send(stage.ports["plugin", "untrusted"], stream, answers=len(ROUTES))
        requests.append(stage.requests() - before)
    # Refusals, OPTIONS and rejected credentials call the gate each time: of the 8 requests of each of 5 anonymous
    # senders 4, of 13 with such a credential 8, of 7 of bob 4, of 9 of alice 2, of 4 of mike 1.
    assert requests[1] == 5 * 4 + 13 * 8 + 7 * 4 + 9 * 2 + 4 * 1

"""Every parser of unauthenticated bytes, its inputs, and the measurement of its time."""

from __future__ import annotations

import gc
import json
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations
from types import SimpleNamespace

from access.access_samples import APP, NOW, SECRETS
from access.oidc_provider import AUDIENCE, ISSUER, KIND
from access.test_access_oidc import ring
from multidict import CIMultiDict

from gateway.access import header_echo_tokens, jwt, links
from gateway.access.app_access import app_access
from gateway.access.authenticator import Authenticator, bearer, strict_bearer
from gateway.access.cookies import cookie_finder
from gateway.access.hosts import host_name
from gateway.access.identity.header import HeaderVerifier
from gateway.access.identity.jwt import JwtVerifier
from gateway.access.identity.litellm_key import LiteLLMKeyVerifier
from gateway.access.paths import is_plain, plain_path, read_path
from gateway.access.policy import wants_page
from gateway.access.table import TierTable
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.litellm_id import LiteLLMIdTemplate
from gateway.errors import SkpayError
from gateway.gate.handler import GateHandler
from gateway.gate.reader import LastAnswer, Reader
from gateway.gate.request import Headers, canonical_names
from gateway.log import redact
from gateway.metrics import Registry
from gateway.settings import Secret
from gateway.stripe import signature
from gateway.web import auth
from gateway.web.bodies import parse_json_body
from gateway.web.models import BuyRequest

URL_BYTES, HEAD_BYTES, BODY_BYTES = 8192, 65_536, 65_536
BUDGET_SECONDS = 0.001
_SECRET = "gate-secret-for-the-parsers-0123456789"
_KEYS = (b"k" * 32,)
_DOTS, _SIGNS = [b".", b"-", b"_", b"a", b"1"], [b" ", b"\t", b"\xa0", b"\n", b"\xff", b"\xc3\xa9"]


@dataclass(frozen=True)
class Parser:
    """`run` takes bytes and may refuse them. Its inputs are built from `parts` between `before` and `after`, at most
    `max_bytes` long. `wrap` is applied to them before the clock starts."""

    name: str
    run: Callable[[bytes], object]
    parts: tuple[bytes, ...]
    max_bytes: int
    before: bytes = b""
    after: bytes = b""
    wrap: Callable[[bytes], bytes] = bytes


def _b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _token(payload: bytes) -> bytes:
    """A JWT whose header and payload are these bytes, with an invalid signature."""
    return b".".join((_b64(b'{"alg":"HS256"}'), _b64(payload), b"A" * 43))


def _oidc_token(payload: bytes) -> bytes:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60, "sub": "u1"}
    body = json.dumps(claims).encode()[:-1] + b',"x":' + payload + b"}"
    return b".".join((_b64(b'{"alg":"ES256","kid":"p256"}'), _b64(body), b"A" * 86))


def _hs256_header(header: bytes) -> bytes:
    return b".".join((_b64(header), b"e30", b"A" * 43))


@cache
def _gate() -> GateHandler:
    """A gate with the sample app, as Traefik asks it."""
    gate = GateHandler(
        secrets=(Secret(_SECRET),),
        public_url="https://pay.example.com",
        table=TierTable(),
        sign_link=partial(links.sign, b"k" * 32),
        registry=Registry(),
        echo_token_keys=_KEYS,
        clock=lambda: NOW,
    )
    gate.install({APP.app_id: app_access(APP, SECRETS, {})})
    gate.ready = True
    return gate


_FRAME = (
    b"X-Forwarded-Host: chat.example.com\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /a\r\nX-Sk-Gate: "
    + _SECRET.encode()
    + b"\r\n\r\n"
)


def _ask_gate(data: bytes) -> None:
    """A whole request at the gate: request cache, reader, identity, policy, answer."""
    gate = _gate()
    if gate.request_cache.answer(data) is not None:
        return

    def receive(method: bytes, url: bytes, headers: Headers, keep_alive: bool) -> None:
        gate.answer(method, url, headers, data)

    Reader(receive, gate.reads).feed(data)


def _read_head(data: bytes) -> None:
    Reader(lambda method, url, headers, keep_alive: None, canonical_names(["Remote-User"])).feed(data)


def _plain(data: bytes) -> object:
    return plain_path(data) if is_plain(data) else None


def _web_bearer(data: bytes) -> object:
    # All that `bearer` reads.
    return auth.bearer(SimpleNamespace(headers=CIMultiDict({"Authorization": data.decode("latin-1")})))  # type: ignore[arg-type]


def _stripe_signature(data: bytes) -> None:
    text = data.decode("latin-1")
    signature.check_header(text, NOW)
    signature.verify(b"{}", text, [Secret("whsec_" + "x" * 40)], NOW)


def _oidc(data: bytes) -> object:
    return JwtVerifier(0, KIND, UserIdMapping(), _ring()).read(data, "authorization", NOW)


@cache
def _ring() -> object:
    return ring()


def _oidc_cookies(data: bytes) -> object:
    return _oidc_identity().authenticate({b"Cookie": data}, NOW)


@cache
def _oidc_identity() -> Authenticator:
    kind = replace(KIND, header=None, cookie="token")
    keys = ring()
    return app_access(replace(APP, identity=(kind,)), {}, {}, key_ring=lambda url: keys).identity


def _text(run: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: run(data.decode("utf-8", "surrogateescape"))


_URL = (
    b"/", b"..", b".", b"//", b"\\", b"%2f", b"%5c", b"%2e", b"%20", b" ", b"%09", b"%00", b";", b"?", b"#", b"%3f",
    b"%25", b"%2525", b"%252f", b"%c0%af", b"\xef\xbc\x8f", b"\xcc\x80", b"\xcc\x95", b"%e3%80%80", b"a", b"%41",
    b"\xef\xb7\xba", b"%ef%b7%ba", b"\xc3\x9f", b"%3b", b"%7f", b"&", b"=", b"\xc0\xaf",
)  # fmt: skip
_JSON = (
    b"[", b"]", b"{", b"}", b'{"a":', b'"', b'"a":1,', b"1", b"1e9", b".1", b"-", b",", b":", b" ", b"\\", b"\\u0041",
    b"\\ud800", b"null", b"NaN", b"\xc3\xa9", b"[[", b'"b"',
)  # fmt: skip
_COOKIE = (
    b";",
    b"token",
    b"token=",
    b"=",
    b" ",
    b"\xa0",
    b"\n",
    b'"',
    b"\\",
    b"\\a",
    b"\\101",
    b"a",
    b"a=b;",
    b"; token=x",
)
_RESPELLED = (b"%41", b"%", b"!", b".", b"A.A.A", b"%2E;token=")
_TOKEN = (b"ey", b".", b"-", b"_", b"A", b"=", b"+", b" ", b"sk-", b"skp_", b"Bearer ", b"\n", b"\xff")
_LINES = (
    b"Cookie: a=b\r\n", b"Cookie: token=\r\n", b"X-A: b\r\n", b"X-Api-Key: k\r\n", b"Accept: text/html\r\n",
    b"Authorization: Bearer x\r\n", b"Origin: x\r\n", b"Cookie: " + b";" * 200 + b"\r\n", b"a:\r\n",
    b"Cookie: " + b"token " * 50 + b"\r\n", b"X-Forwarded-Uri: /%20%20a\r\n", b"Remote-User: x\r\n",
)  # fmt: skip
_LOG = (
    b"eyJ",
    b"-",
    b".",
    b"1.",
    b"://",
    b":",
    b"@",
    b"/",
    b"a",
    b"sk_",
    b"whsec_",
    b"bearer ",
    b"?password=",
    b"&",
    b" ",
    b"https://checkout.stripe.com/",
)
_START = b"GET /gate?app=skai HTTP/1.1\r\nHost: skpayments:8081\r\n"

_TO_URL = b"X-Forwarded-Host: chat.example.com\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /"

PARSERS = (
    Parser("path of a URL", _text(read_path), _URL, URL_BYTES, b"/"),
    Parser("plain path", _plain, _URL, URL_BYTES, b"/"),
    Parser("cookies", cookie_finder("token"), _COOKIE, HEAD_BYTES),
    Parser("cookies of Open WebUI", cookie_finder("token", last_counts=True), _COOKIE, HEAD_BYTES),
    Parser("cookie in quotes", cookie_finder("token"), _COOKIE, HEAD_BYTES, b'token="', b'"'),
    Parser("cookies of an OpenID app", _oidc_cookies, (*_COOKIE, *_RESPELLED), HEAD_BYTES, b"token="),
    Parser("Authorization at the gate", bearer, _TOKEN, HEAD_BYTES),
    Parser("Authorization at Open WebUI's gate", strict_bearer, (*_TOKEN, b"x ", b" sk", b"="), HEAD_BYTES),
    Parser("Authorization at the public listener", _web_bearer, _TOKEN, HEAD_BYTES),
    Parser("session token", lambda data: jwt.verify(data, _KEYS, NOW), _TOKEN, HEAD_BYTES),
    Parser("session token's header", lambda data: jwt.verify(data, _KEYS, NOW), _JSON, 5000, wrap=_hs256_header),
    Parser("session token's payload", lambda data: jwt.read_object(data.split(b".")[1]), _JSON, 5900, wrap=_token),
    Parser("OpenID token's claims", _oidc, _JSON, 11_800, wrap=_oidc_token),
    Parser("OpenID token", _oidc, _TOKEN, HEAD_BYTES),
    Parser(
        "LiteLLM key",
        lambda data: LiteLLMKeyVerifier(0, LiteLLMIdTemplate("", ""), UserIdMapping()).read(data, "", NOW),
        _TOKEN,
        HEAD_BYTES,
    ),
    Parser(
        "user in a trusted header",
        lambda data: HeaderVerifier(UserIdMapping()).read(data, "", NOW),
        (*_DOTS, *_SIGNS),
        HEAD_BYTES,
    ),
    Parser("host", lambda data: host_name(data.decode("latin-1")), (*_DOTS, b":", b"1", *_SIGNS), HEAD_BYTES),
    Parser(
        "Accept and Sec-Fetch-Mode",
        _text(lambda text: wants_page("GET", text, "")),
        (b"text/html", b"text/", b",", b";q=", b"*", b"T"),
        HEAD_BYTES,
    ),
    Parser("upgrade link", _text(lambda text: links.verify(_KEYS, text, "skai", NOW)), _TOKEN, HEAD_BYTES, b"1."),
    Parser(
        "doctor's pass",
        _text(lambda text: header_echo_tokens.has_valid_echo_token(_KEYS, text, "skai", NOW)),
        (b"&", b"=", b"pass=", b"%41", b"a", b"+", b"%", b";"),
        HEAD_BYTES,
        b"/.skpayments/arrived?",
    ),
    Parser(
        "Stripe-Signature",
        _stripe_signature,
        (b"t=1", b",", b"v1=" + b"a" * 64, b"v1=", b"v0=", b"=", b"0", b" "),
        HEAD_BYTES,
        f"t={NOW},".encode(),
    ),
    Parser("JSON body", lambda data: parse_json_body(data, BuyRequest), _JSON, BODY_BYTES),
    Parser("text in a log line", _text(redact), _LOG, BODY_BYTES),
    Parser("head of a request", _read_head, _LINES, HEAD_BYTES - 200, _START, _FRAME),
    Parser("request at the gate", _ask_gate, _LINES, HEAD_BYTES - 400, _START, _FRAME),
    Parser(
        "URL at the gate",
        _ask_gate,
        tuple(part for part in _URL if part != b"\n"),
        URL_BYTES,
        _START + _TO_URL,
        b"\r\nX-Sk-Gate: " + _SECRET.encode() + b"\r\n\r\n",
    ),
    Parser(
        "cookies at the gate",
        _ask_gate,
        tuple(part for part in _COOKIE if part != b"\n"),
        HEAD_BYTES - 800,
        _START + b"Cookie: ",
        b"\r\n" + _FRAME,
    ),
)


def built(parser: Parser, middle: bytes, length: int) -> bytes:
    """`middle` repeated and cut to a length, between `before` and `after`."""
    room = max(1, min(length, parser.max_bytes) - len(parser.before) - len(parser.after))
    cut = (middle * (room // max(1, len(middle)) + 1))[:room]
    return parser.wrap(parser.before + cut + parser.after)


def patterns(parser: Parser) -> Iterator[bytes]:
    """Middles that have found quadratic work before: each part repeated, each pair in turn, and a run of one that ends
    in another."""
    yield from parser.parts
    for one, other in combinations(parser.parts, 2):
        yield one + other
        yield one * (parser.max_bytes // len(one) // 2) + other


def random_input(parser: Parser, rng: random.Random) -> bytes:
    """Some parts in runs, of a random length up to the maximum."""
    chosen = rng.sample(parser.parts, min(len(parser.parts), rng.randint(1, 4)))
    middle = b"".join(rng.choice(chosen) * rng.randint(1, 30) for _ in range(rng.randint(1, 12)))
    return built(parser, middle, int(parser.max_bytes * rng.random() ** 2) + 1)


def seconds(parser: Parser, data: bytes, best_of: int = 1) -> float:
    """The least processor time of several runs, since other load only adds to it."""
    best = float("inf")
    for _ in range(best_of):
        read_path.__globals__["_read_cached"].cache_clear()
        if best_of > 1:
            gc.collect(0)
        started = time.process_time_ns()
        with suppress(SkpayError, LastAnswer, ValueError):
            parser.run(data)
        best = min(best, (time.process_time_ns() - started) / 1e9)
    return best

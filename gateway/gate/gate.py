"""The gate: one request in, the bytes of one answer out, from memory alone."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from gateway.access.app_access import AppAccess
from gateway.access.cookies import AGAIN
from gateway.access.identity import Known, Presented, Refused, Who
from gateway.access.paths import Path, read_path
from gateway.access.policy import Allow, MethodRefused, TierRequired, is_upgrade, wants_page
from gateway.access.table import TierTable
from gateway.access.tags import user_line
from gateway.gate import answers
from gateway.gate import request as slots
from gateway.gate.prepared import PreparedApp
from gateway.gate.request import Request
from gateway.log import fields
from gateway.metrics import CONTENT_TYPE, Registry
from gateway.settings import Secrets

log = logging.getLogger(__name__)

_MAX_FIRST_SIGHTS = 100_000
# What the app itself does with a session cookie that does not verify; without it a browser could never sign in again.
_CLEAR_COOKIE = (("Set-Cookie", "token=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"),)


class Gate:
    """Answers Traefik. Holds nothing but what `install` and `app` gave it; no answer waits for anything.

    `sign_link(app_id, user_id, now)` makes the `t` of an upgrade link. `first_sight(app_id, user_id)` is called once,
    after the answer, for a person who is not in the table. `traefik_document()` is the whole dynamic configuration,
    None while there is none.
    """

    def __init__(
        self,
        *,
        secrets: Secrets,
        public_url: str,
        table: TierTable,
        sign_link: Callable[[str, str, int], str],
        registry: Registry,
        first_sight: Callable[[str, str], None] = lambda app_id, user_id: None,
        traefik_document: Callable[[], bytes | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secrets or not all(secret.reveal() for secret in secrets):
            raise ValueError("the gate needs a secret that is not empty")
        self._secrets = tuple(secret.reveal().encode() for secret in secrets)
        self._public_url = public_url
        self._table = table
        self._sign_link = sign_link
        self._first_sight = first_sight
        self._traefik_document = traefik_document
        self._clock = clock
        self.registry = registry
        self._requests = registry.counter(
            "skpay_gate_requests_total", "Requests the gate decided.", ("app", "tier", "outcome")
        )
        self._forbidden = self._requests.of("", "", "forbidden")
        self._not_ready = self._requests.of("", "", "not_ready")
        self._unknown = self._requests.of("", "", "unknown_app")
        self._seen: set[tuple[str, str]] = set()
        self._apps: dict[bytes, PreparedApp] = {}
        self.ready = False

    def install(self, apps: Mapping[str, AppAccess]) -> None:
        """Answer by these apps from the next request on: all of them change at once."""
        prepared = {app_id: PreparedApp(access, self._requests) for app_id, access in apps.items()}
        self._apps = {app_id.encode(): app for app_id, app in prepared.items()}

    def answer(self, request: Request) -> bytes:
        """The whole answer to a request. The secret comes first: without it nothing else is looked at."""
        bearer_used = False
        values = request.values
        secret = values[slots.GATE]
        if secret is None:
            authorization = values[slots.AUTHORIZATION]
            if authorization is not None and authorization[:7].lower() == b"bearer ":
                secret, bearer_used = authorization[7:], True
        if secret is None or not self._is_secret(secret):
            self._forbidden.value += 1
            return answers.FORBIDDEN_SECRET
        if request.method not in (b"GET", b"HEAD"):
            return answers.BAD_METHOD
        path, _, query = request.url.partition(b"?")
        if path == b"/gate":
            return self._gate(query, values, bearer_used)
        if path == b"/traefik":
            document = self._traefik_document() if self.ready else None
            return answers.NOT_READY if document is None else answers.answer(200, document, "application/json")
        if path == b"/metrics":
            return answers.answer(200, self.registry.render().encode(), CONTENT_TYPE)
        return answers.NOT_FOUND

    def _is_secret(self, secret: bytes) -> bool:
        good = False
        for valid in self._secrets:
            good |= hmac.compare_digest(secret, valid)
        return good

    def _app(self, query: bytes) -> PreparedApp | None:
        """The app that the address of the middleware names: exactly one `app`, nothing else."""
        if query[:4] == b"app=" and (app := self._apps.get(query[4:])) is not None:
            return app
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            return None
        if len(pairs) != 1 or pairs[0][0] != "app":
            return None
        return self._apps.get(pairs[0][1].encode())

    def _gate(self, query: bytes, values: list[bytes | None], bearer_used: bool) -> bytes:
        """The decision about one proxied request."""
        if not self.ready:
            self._not_ready.value += 1
            return answers.NOT_READY
        app = self._app(query)
        if app is None:
            self._unknown.value += 1
            return answers.NO_SUCH_APP
        host, uri, method = values[slots.HOST], values[slots.URI], values[slots.METHOD]
        if host is None or not app.has_host(host):
            app.count("wrong_host")
            return answers.FORBIDDEN_HOST
        if uri is None or uri[:1] != b"/" or AGAIN in uri or method is None or not method.isalpha():
            app.count("bad_request")
            return answers.BAD_REQUEST
        now = int(self._clock())
        presented = Presented(
            None if bearer_used else values[slots.AUTHORIZATION], values[slots.COOKIE], values[slots.API_KEY]
        )
        return self._decide(app, presented, method.decode("ascii"), _path(uri), values, now)

    def _decide(
        self,
        app: PreparedApp,
        presented: Presented,
        method: str,
        path: Path,
        values: list[bytes | None],
        now: int,
    ) -> bytes:
        who = app.access.identity.who(presented, now)
        tier_id = ""
        if isinstance(who, Known):
            tier_id = self._table.tier_of(app.app_id, who.user_id, "")
            if not tier_id:
                self._meet(app.app_id, who.user_id)
        if is_upgrade(path) and method in ("GET", "HEAD"):
            return self._upgrade(app, who, method, path, values, now)
        preflight = method == "OPTIONS" and _is_preflight(presented, values)
        decision = app.access.policy.decide(who, tier_id, method, path, preflight=preflight)
        if isinstance(decision, Allow):
            return self._allow(app, decision)
        if isinstance(decision, MethodRefused):
            app.count("method_refused")
            return answers.METHOD_REFUSED
        if isinstance(decision, TierRequired):
            return self._tier_required(app, decision, _wants_page(method, values), now)
        app.count("sign_in_required")
        return self._sign_in(app, who, decision.reason, _wants_page(method, values), path)

    def _allow(self, app: PreparedApp, decision: Allow) -> bytes:
        start, allowed, anonymous = app.tiers[decision.tier.tier_id]
        if decision.instead_of is not None:
            app.count(f"would_{decision.instead_of}", decision.tier.tier_id)
        elif decision.user_id is None:
            anonymous.value += 1
        else:
            allowed.value += 1
        if decision.user_id is None:
            return start + b"\r\n"
        return start + user_line(decision.user_id) + b"\r\n"

    def _buy_url(self, app_id: str, user_id: str, now: int) -> str:
        return f"{self._public_url}/buy/{app_id}?t={self._sign_link(app_id, user_id, now)}"

    def _upgrade(
        self, app: PreparedApp, who: Who, method: str, path: Path, values: list[bytes | None], now: int
    ) -> bytes:
        """`/.skpayments/upgrade`: on to the buyer's page, as the person the gate saw."""
        if isinstance(who, Known):
            app.count("upgrade")
            return answers.see_other(self._buy_url(app.app_id, who.user_id, now))
        app.count("sign_in_required")
        reason = who.reason if isinstance(who, Refused) else "sign in to upgrade"
        return self._sign_in(app, who, reason, _wants_page(method, values), path)

    def _sign_in(self, app: PreparedApp, who: Who, reason: str, page: bool, path: Path) -> bytes:
        headers = _CLEAR_COOKIE if isinstance(who, Refused) and who.source == "cookie" else ()
        if page and app.app.sign_in_url is not None and not app.is_sign_in_page(path):
            return answers.see_other(app.app.sign_in_url, headers)
        return answers.refusal(401, "sign_in_required", reason, headers=headers)

    def _tier_required(self, app: PreparedApp, decision: TierRequired, page: bool, now: int) -> bytes:
        current, required = decision.current_tier, decision.required_tier
        app.count("tier_required", current.tier_id)
        url = self._buy_url(app.app_id, decision.user_id, now)
        tier_header = (("X-SK-Tier", current.tier_id),)
        if page:
            return answers.see_other(url, tier_header)
        message = "no tier of this app allows this" if required is None else f"this needs the tier {required.name}"
        return answers.refusal(
            402,
            "tier_required",
            message,
            {
                "required_tier": None if required is None else required.tier_id,
                "current_tier": current.tier_id,
                "upgrade_url": url,
            },
            tier_header,
        )

    def _meet(self, app_id: str, user_id: str) -> None:
        """Tell `first_sight` of somebody new, once and after the answer (T3)."""
        if (app_id, user_id) in self._seen:
            return
        if len(self._seen) >= _MAX_FIRST_SIGHTS:
            self._seen.clear()  # told of twice is harmless, never told of is not
        self._seen.add((app_id, user_id))
        asyncio.get_running_loop().call_soon(self._tell, app_id, user_id)

    def _tell(self, app_id: str, user_id: str) -> None:
        try:
            self._first_sight(app_id, user_id)
        except Exception:
            self._seen.discard((app_id, user_id))
            log.exception("first_sight_failed", extra=fields(app_id=app_id, user_id=user_id))


def _path(uri: bytes) -> Path:
    return read_path(uri.decode("utf-8", "surrogateescape"))


def _is_preflight(presented: Presented, values: list[bytes | None]) -> bool:
    """Origin and Access-Control-Request-Method, and no credential: a browser never sends one with a preflight."""
    asked = values[slots.ORIGIN] is not None and values[slots.ASKED_METHOD] is not None
    return asked and presented == (None, None, None)


def _wants_page(method: str, values: list[bytes | None]) -> bool:
    accept, mode = values[slots.ACCEPT] or b"", values[slots.FETCH_MODE] or b""
    return wants_page(method, accept.decode("latin-1"), mode.decode("latin-1"))

"""The gate's answer to one proxied request: authenticate, look up the tier, apply the routes' rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.access import header_echo_tokens
from gateway.access.authentication import AuthenticatedUser, Authentication, CredentialLookup, RejectedCredential
from gateway.access.classes import has_class
from gateway.access.cookies import REPEATED_HEADER_SEPARATOR
from gateway.access.paths import Path, read_path
from gateway.access.policy import UPGRADE_PATH, Allow, MethodRefused, SignInRequired, TierRequired, wants_page
from gateway.access.table import TierTable
from gateway.catalog.reserved import HEADER_ECHO_PATH
from gateway.errors import TooMany, UpstreamFailed
from gateway.gate import answers, refusals
from gateway.gate import request as names
from gateway.gate.allow_response import AllowResponses, user_header_lines
from gateway.gate.cors import with_cors_headers
from gateway.gate.credential_lookups import LOOKUP_TIMEOUT_SECONDS, CredentialResolver, PendingAnswer
from gateway.gate.first_seen import FirstSeenUsers, LimitsFuture
from gateway.gate.plans_links import PlansLinks
from gateway.gate.prepared_app import PreparedApp
from gateway.gate.request import Headers
from gateway.gate.request_cache import RequestCache
from gateway.metrics import Registry

NOT_VERIFIED = (
    "skpay_sessions_not_verified_total", "Sessions that did not verify, by error code.",
    ("app", "code"),
)  # fmt: skip
_HEADER_ECHO = HEADER_ECHO_PATH + "/"  # in normal form


class ProxiedRequest(NamedTuple):
    """What Traefik says of the visitor's request. `raw` is the whole call if the request cache may keep it."""

    headers: Headers
    method: str
    path: Path
    raw: bytes | None


class ForwardAuth:
    """Waits for nothing but a `CredentialLookup` and the limits of a first-seen user.

    `current_app(app_id)` is the app as last installed, None if it is gone. `echo_token_keys` verify doctor's tokens.
    """

    def __init__(
        self,
        *,
        table: TierTable,
        links: PlansLinks,
        first_seen: FirstSeenUsers,
        lookups: CredentialResolver | None,
        responses: AllowResponses,
        request_cache: RequestCache,
        current_app: Callable[[str], PreparedApp | None],
        echo_token_keys: Sequence[bytes],
        registry: Registry,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._links = links
        self._first_seen = first_seen
        self._lookups = lookups
        self._responses = responses
        self._request_cache = request_cache
        self._current_app = current_app
        self._echo_token_keys = echo_token_keys
        self._not_verified = registry.counter(*NOT_VERIFIED)
        self._clock = clock

    def answer(self, app: PreparedApp, headers: Headers, raw: bytes | None = None) -> bytes | PendingAnswer:
        """`raw`: the bytes of the call, if it is a GET that arrived whole."""
        host, uri, method = headers.get(names.HOST), headers.get(names.URI), headers.get(names.METHOD)
        if host is None or not (host in app.host_bytes or app.has_host(host)):
            app.count("wrong_host")
            return with_cors_headers(app.cors, headers, answers.FORBIDDEN_HOST)
        verb = names.method_name(method)
        if verb is None or uri is None or uri[:1] != b"/" or REPEATED_HEADER_SEPARATOR in uri:
            app.count("bad_request")
            return with_cors_headers(app.cors, headers, answers.BAD_REQUEST)
        target = uri.decode("utf-8", "surrogateescape")
        path = read_path(target)
        if path.literal == _HEADER_ECHO:
            return self._header_echo(app, target)
        request = ProxiedRequest(headers, verb, path, raw)
        now = int(self._clock())
        authentication = app.access.identity.authenticate(headers, now)
        if not isinstance(authentication, CredentialLookup):
            limits_future = self._limits_future(app, authentication)
            if limits_future is not None:
                return self._answer_after_limits_set(limits_future, app, request)
            return self._decide(app, request, authentication, now)
        if self._lookups is None:
            return _unavailable(app, headers)
        return self._answer_after_lookup(self._lookups, app, authentication, request)

    def _limits_future(self, app: PreparedApp, authentication: Authentication) -> LimitsFuture | None:
        """What a first-seen user's request waits for; None if it need not wait."""
        if not isinstance(authentication, AuthenticatedUser) or self._table.tier_of(
            app.app_id, authentication.user_id, ""
        ):
            return None
        return self._first_seen.report_if_new(app.app_id, authentication.user_id)

    async def _answer_after_limits_set(
        self, limits_future: LimitsFuture, app: PreparedApp, request: ProxiedRequest
    ) -> bytes:
        await self._first_seen.wait(limits_future)
        return await self._answer_with_current_app(app, request)

    async def _answer_with_current_app(self, app: PreparedApp, request: ProxiedRequest) -> bytes:
        """The apps may have changed while the request waited."""
        current = self._current_app(app.app_id)
        if current is None:
            return answers.NO_SUCH_APP
        answer = self.answer(current, request.headers, request.raw)
        return answer if isinstance(answer, bytes) else await answer

    async def _answer_after_lookup(
        self, lookups: CredentialResolver, app: PreparedApp, lookup: CredentialLookup, request: ProxiedRequest
    ) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                authentication = await lookups.look_up(app.app_id, lookup)
                limits_future = self._limits_future(app, authentication)
                if limits_future is not None:
                    # Bounded by what is left of the timeout, so that it never turns into a refusal.
                    await self._first_seen.wait(limits_future, loop.time() - began)
                    # The credential may have been revoked meanwhile: a later request must look it up.
                    request = request._replace(raw=None)
                if self._current_app(app.app_id) is app:
                    return self._decide(app, request, authentication, int(self._clock()))
                return await self._answer_with_current_app(app, request)
        except (UpstreamFailed, TooMany, TimeoutError):
            return _unavailable(app, request.headers)

    def _decide(self, app: PreparedApp, request: ProxiedRequest, authentication: Authentication, now: int) -> bytes:
        headers, method, path, raw = request
        tier_id, user_id = "", None
        if isinstance(authentication, AuthenticatedUser):
            user_id = authentication.user_id
            tier_id = self._table.tier_of(app.app_id, user_id, "")
        elif isinstance(authentication, RejectedCredential) and (authentication.is_cookie or authentication.signed_out):
            self._not_verified.of(app.app_id, authentication.code).value += 1
        if path.literal == UPGRADE_PATH and method in ("GET", "HEAD"):
            page = _wants_page(method, headers)
            return with_cors_headers(
                app.cors, headers, self._links.upgrade(app, headers, authentication, tier_id, page, now)
            )
        preflight = method == "OPTIONS" and _is_preflight(app, headers)
        decision = app.access.policy.decide(authentication, tier_id, method, path, preflight=preflight)
        if not isinstance(decision, Allow):
            return with_cors_headers(app.cors, headers, self._refusal(app, request, authentication, decision, now))
        # Whether OPTIONS is a preflight depends on both parts of a request; a rejected credential may become valid.
        if raw is not None and method != "OPTIONS" and not isinstance(authentication, RejectedCredential):
            self._request_cache.add(raw, app, method, authentication)
        for_plugin = names.PLUGIN in headers and not preflight and has_class(path)
        user_lines = user_header_lines(user_id)
        response, counter, _ = self._responses.make(app, decision, authentication, user_lines, now, for_plugin)
        counter.value += 1
        return response

    def _refusal(
        self,
        app: PreparedApp,
        request: ProxiedRequest,
        authentication: Authentication,
        decision: SignInRequired | TierRequired | MethodRefused,
        now: int,
    ) -> bytes:
        if isinstance(decision, MethodRefused):
            app.count("method_refused")
            return answers.METHOD_REFUSED
        page = _wants_page(request.method, request.headers)
        if isinstance(decision, TierRequired):
            app.count("tier_required", decision.current_tier.tier_id)
            back = self._links.return_url(app, request.headers) if page and request.method == "GET" else ""
            url = self._links.buy_url(app, decision.user_id, now, back, decision.required_tier)
            return refusals.tier_required(decision, url, page)
        return refusals.sign_in(app, authentication, decision.reason, page and not app.is_sign_in_page(request.path))

    def _header_echo(self, app: PreparedApp, target: str) -> bytes:
        """Doctor's token passes as an anonymous request on the first tier; without one there is no such page."""
        valid = header_echo_tokens.has_valid_echo_token(
            self._echo_token_keys, target, app.app_id, int(self._clock())
        )  # fmt: skip
        app.count("arrived" if valid else "not_found")
        return app.tiers[app.app.default_tier.tier_id][0] + b"\r\n" if valid else answers.NOT_FOUND


def _unavailable(app: PreparedApp, headers: Headers) -> bytes:
    app.count("identity_unavailable")
    return with_cors_headers(app.cors, headers, answers.IDENTITY_UNAVAILABLE)


def _is_preflight(app: PreparedApp, headers: Headers) -> bool:
    """Origin and Access-Control-Request-Method, and no credential: browsers send none with a preflight."""
    has_both = names.ORIGIN in headers and names.REQUESTED_METHOD in headers
    return has_both and not app.access.identity.may_have_credential(headers)


def _wants_page(method: str, headers: Headers) -> bool:
    accept, mode = headers.get(names.ACCEPT, b""), headers.get(names.FETCH_MODE, b"")
    return wants_page(method, accept.decode("latin-1"), mode.decode("latin-1"))

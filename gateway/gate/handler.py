"""The gate: one request in, the bytes of one answer out, from memory alone."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from urllib.parse import parse_qsl

from gateway.access import header_echo_tokens
from gateway.access.app_access import AppAccess
from gateway.access.assertion import Signer
from gateway.access.authentication import (
    AuthenticatedUser,
    Authentication,
    CredentialLookup,
    RejectedCredential,
    ResolveLookup,
)
from gateway.access.classes import has_class
from gateway.access.cookies import REPEATED_HEADER_SEPARATOR
from gateway.access.keys import KeyOwner
from gateway.access.paths import Path, read_path
from gateway.access.policy import UPGRADE_PATH, Allow, MethodRefused, SignInRequired, TierRequired, wants_page
from gateway.access.table import TierTable
from gateway.catalog.reserved import HEADER_ECHO_PATH
from gateway.errors import TooMany, UpstreamFailed
from gateway.gate import answers, refusals
from gateway.gate import request as names
from gateway.gate.allow_response import allow_response, user_header_lines
from gateway.gate.changes import Changes, Stream
from gateway.gate.cors import with_cors_headers
from gateway.gate.credential_lookups import LOOKUP_TIMEOUT_SECONDS, CredentialResolver, PendingAnswer
from gateway.gate.first_seen import FirstSeenUsers, LimitsFuture
from gateway.gate.memory_gauges import MemoryGauges
from gateway.gate.plans_links import PlansLinks, SignLink
from gateway.gate.plugin_caching import PluginCaching
from gateway.gate.prepared_app import PreparedApp
from gateway.gate.request import Headers, canonical_names
from gateway.gate.request_cache import RequestCache
from gateway.metrics import CONTENT_TYPE, Registry
from gateway.settings import Secret, Secrets

REQUESTS = "skpay_gate_requests_total", "Requests the gate decided.", ("app", "tier", "outcome")
NOT_VERIFIED = (
    "skpay_sessions_not_verified_total", "Requests with a session that does not verify, by why.", ("app", "code"),
)  # fmt: skip
_MAX_LISTED_OWNERS = 1000  # people whose keys changed at once; if more, forgetting all is shorter
_HEADER_ECHO = HEADER_ECHO_PATH + "/"  # in normal form

Answer = bytes | Stream | PendingAnswer


class GateHandler:
    """Answers Traefik. Its state is what `install` and `app` gave it; an answer waits only for a `CredentialLookup` and
    for a first-seen user's limits.

    `sign_link` makes the `t` of an upgrade link. `on_first_seen(app_id, user_id)` is called once
    for a user who is not in the table; again with a later request if it answers False; a future: see `first_seen`.
    `traefik_document()` is the whole dynamic configuration, None while there is none. `resolve` answers a
    `CredentialLookup`. `echo_token_keys` verify doctor's passes.
    """

    def __init__(
        self,
        *,
        secrets: Secrets,
        public_url: str,
        table: TierTable,
        sign_link: SignLink,
        registry: Registry,
        on_first_seen: Callable[[str, str], object] = lambda app_id, user_id: None,
        traefik_document: Callable[[], bytes | None] = lambda: None,
        resolve: ResolveLookup | None = None,
        echo_token_keys: Sequence[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secrets or not all(secret.reveal() for secret in secrets):
            raise ValueError("the gate needs a secret that is not empty")
        self._secrets = tuple(secret.reveal().encode() for secret in secrets)
        self._public_url = public_url
        self._table = table
        self._links = PlansLinks(public_url, sign_link)
        self._first_seen = FirstSeenUsers(on_first_seen)
        self._traefik_document = traefik_document
        self._lookups = None if resolve is None else CredentialResolver(resolve)
        self._arrival_keys = echo_token_keys
        self._clock = clock
        self.registry = registry
        self._requests = registry.counter(*REQUESTS)
        self._forbidden = self._requests.of("", "", "forbidden")
        self._not_ready = self._requests.of("", "", "not_ready")
        self._not_verified = registry.counter(*NOT_VERIFIED)
        self._unknown = self._requests.of("", "", "unknown_app")
        self._targets: dict[bytes, PreparedApp] = {}
        self._memory = MemoryGauges(registry, table)
        self.reads = canonical_names()
        self.changes = Changes(registry)
        self._plugin_caching = PluginCaching(self.changes, table)
        self.request_cache = RequestCache(table, self._first_seen.report_if_new, self._plugin_caching, clock)
        self._ready = False

    @property
    def ready(self) -> bool:
        """Every app and every user has been loaded; until then nobody is let through."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready
        self.request_cache.forget()

    def install(
        self,
        apps: Mapping[str, AppAccess],
        signer: Signer | None = None,
        changed_owners: Iterable[KeyOwner] | None = None,
    ) -> None:
        """Answer by these apps from the next request on: all of them change at once. `signer` must be there if any of
        them wants assertions. `changed_owners`: nothing but the keys of these people changed. None: anything may have.
        """
        prepared = {app_id: PreparedApp(access, self._requests, signer) for app_id, access in apps.items()}
        self._memory.watch(apps)
        self.reads = canonical_names(name for access in apps.values() for name in access.identity.request_headers)
        self._first_seen.reset_all_first_seen()  # an app may have LiteLLM limits from now on
        self._targets = {_target(app_id): app for app_id, app in prepared.items()}
        self.request_cache.forget()
        owners = None if changed_owners is None else set(islice(changed_owners, _MAX_LISTED_OWNERS + 1))
        if owners is None or len(owners) > _MAX_LISTED_OWNERS:
            self.changes.all_changed(apps)
        else:
            for owner in owners:
                self.changes.user_changed(owner.app_id, owner.user_id)

    def credential_changed(self, app_id: str, user_id: str) -> None:
        """What was taken for this person may be taken no more. Call it in the step of the loop in which that is so."""
        self.request_cache.forget_user(app_id, user_id)
        self.changes.user_changed(app_id, user_id)

    def dry_run(self, access: AppAccess, registry: Registry, secret: Secret, signer: Signer, link: str) -> GateHandler:
        """A gate for this app that answers as this one does, of which nobody hears: it counts into `registry`, tells
        nobody whom it met, and signs with what it is given. `secret` opens it; every upgrade link is `link`."""
        copy = GateHandler(
            secrets=(secret,),
            public_url=self._public_url,
            table=self._table,
            sign_link=lambda *_, **__: link,
            registry=registry,
            resolve=None if self._lookups is None else self._lookups.resolve,
            echo_token_keys=self._arrival_keys,
            clock=self._clock,
        )
        copy.install({access.app.app_id: access}, signer)
        copy.ready = self.ready
        return copy

    def answer(self, method: bytes, url: bytes, headers: Headers, raw_request: bytes | None = None) -> Answer:
        """The whole answer to a call, or what will become one. The secret comes first: without it nothing else is
        looked at.

        `whole`: the bytes of a request that came at once, for `usual` to know its like by.
        """
        secret = headers.get(names.GATE)
        if secret is None:
            authorization = headers.get(names.AUTHORIZATION, b"")
            if authorization[:7].lower() == b"bearer ":
                secret = authorization[7:]
                del headers[names.AUTHORIZATION]  # ours, so nobody's session
        if secret is None or not self._is_secret(secret):
            self._forbidden.value += 1
            return answers.FORBIDDEN_SECRET
        if method != b"GET" and method != b"HEAD":
            return answers.BAD_METHOD
        app = self._targets.get(url)
        if app is not None and self._ready:
            return self._authorize(app, headers, raw_request)
        path, _, query = url.partition(b"?")
        if path == b"/gate":
            return self._authorize_by_query(query, headers)
        if path == b"/traefik":
            document = self._traefik_document() if self._ready else None
            return answers.NOT_READY if document is None else answers.answer(200, document, "application/json")
        if path == b"/gate/changes" and method == b"GET":
            return self._stream()
        if path == b"/metrics":
            return answers.answer(200, self.registry.render().encode(), CONTENT_TYPE)
        return answers.NOT_FOUND

    def _stream(self) -> bytes | Stream:
        if not self._ready:
            return answers.NOT_READY
        return answers.TOO_MANY_STREAMS if self.changes.full else Stream(self.changes)

    def _is_secret(self, secret: bytes) -> bool:
        good = False
        for valid in self._secrets:
            good |= hmac.compare_digest(secret, valid)
        return good

    def _authorize_by_query(self, query: bytes, headers: Headers) -> bytes | PendingAnswer:
        """The app that the middleware's address names in another spelling: exactly one `app`, nothing else."""
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            pairs = []
        named = pairs[0][1] if len(pairs) == 1 and pairs[0][0] == "app" else ""
        app = self._targets.get(_target(named))
        if not self._ready:
            self._not_ready.value += 1
            return answers.NOT_READY if app is None else with_cors_headers(app.cors, headers, answers.NOT_READY)
        if app is None:
            self._unknown.value += 1
            return answers.NO_SUCH_APP
        return self._authorize(app, headers)

    def _authorize(self, app: PreparedApp, headers: Headers, raw_request: bytes | None = None) -> bytes | PendingAnswer:
        """The decision about one proxied request."""
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
        now = int(self._clock())
        authentication = app.access.identity.authenticate(headers, now)
        if not isinstance(authentication, CredentialLookup):
            limits_future = self._limits_future(app, authentication)
            if limits_future is not None:
                return self._answer_after_limits_set(limits_future, app, headers, raw_request)
            return self._decide(app, headers, verb, path, authentication, now, raw_request)
        if self._lookups is None:
            return _unavailable(app, headers)
        return self._answer_after_lookup(self._lookups, app, authentication, headers, verb, path, raw_request)

    def _limits_future(self, app: PreparedApp, authentication: Authentication) -> LimitsFuture | None:
        """What a request waits for, if its user was never seen before and has no limits in LiteLLM yet."""
        if not isinstance(authentication, AuthenticatedUser) or self._table.tier_of(
            app.app_id, authentication.user_id, ""
        ):
            return None
        return self._first_seen.report_if_new(app.app_id, authentication.user_id)

    async def _answer_after_limits_set(
        self, limits_future: LimitsFuture, app: PreparedApp, headers: Headers, raw_request: bytes | None
    ) -> bytes:
        await self._first_seen.wait(limits_future)
        return await self._answer_with_current_apps(app, headers, raw_request)

    async def _answer_with_current_apps(self, app: PreparedApp, headers: Headers, raw_request: bytes | None) -> bytes:
        """By the apps of now: they may have changed while the request waited."""
        current = self._targets.get(_target(app.app_id))
        answer = answers.NO_SUCH_APP if current is None else self._authorize(current, headers, raw_request)
        return answer if isinstance(answer, bytes) else await answer

    async def _answer_after_lookup(
        self,
        lookups: CredentialResolver,
        app: PreparedApp,
        ask: CredentialLookup,
        headers: Headers,
        method: str,
        path: Path,
        raw_request: bytes | None,
    ) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                authentication = await lookups.look_up(app.app_id, ask)
                limits_future = self._limits_future(app, authentication)
                if limits_future is not None:  # it ends before the time is over, or the person would be refused
                    await self._first_seen.wait(limits_future, loop.time() - began)
                if self._targets.get(_target(app.app_id)) is app:
                    return self._decide(app, headers, method, path, authentication, int(self._clock()), raw_request)
                # Apps or keys have changed meanwhile: nothing is answered by what was.
                return await self._answer_with_current_apps(app, headers, raw_request)
        except (UpstreamFailed, TooMany, TimeoutError):
            return _unavailable(app, headers)

    def _decide(
        self,
        app: PreparedApp,
        headers: Headers,
        method: str,
        path: Path,
        authentication: Authentication,
        now: int,
        raw_request: bytes | None,
    ) -> bytes:
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
        if isinstance(decision, Allow):
            # A preflight is known by more than its parts tell; a refused credential may be good one day.
            if raw_request is not None and method != "OPTIONS" and not isinstance(authentication, RejectedCredential):
                self.request_cache.remember(raw_request, app, method, authentication)
            answer = allow_response(app, decision, user_id, user_header_lines(user_id), now)
            if names.PLUGIN in headers and not preflight and has_class(path):
                return self._plugin_caching.with_keep_header(answer, app, decision, authentication, now)
            return answer
        return with_cors_headers(
            app.cors, headers, self._refusal(app, headers, method, path, authentication, decision, now)
        )

    def _refusal(
        self,
        app: PreparedApp,
        headers: Headers,
        method: str,
        path: Path,
        authentication: Authentication,
        decision: SignInRequired | TierRequired | MethodRefused,
        now: int,
    ) -> bytes:
        if isinstance(decision, MethodRefused):
            app.count("method_refused")
            return answers.METHOD_REFUSED
        page = _wants_page(method, headers)
        if isinstance(decision, TierRequired):
            app.count("tier_required", decision.current_tier.tier_id)
            back = self._links.return_url(app, headers) if page and method == "GET" else ""
            url = self._links.buy_url(app, decision.user_id, now, back, decision.required_tier)
            return refusals.tier_required(decision, url, page)
        return refusals.sign_in(app, authentication, decision.reason, page and not app.is_sign_in_page(path))

    def _header_echo(self, app: PreparedApp, target: str) -> bytes:
        """`/.skpayments/arrived`: doctor passes as nobody on the first tier, everybody else finds nothing there."""
        passes = header_echo_tokens.has_valid_echo_token(self._arrival_keys, target, app.app_id, int(self._clock()))
        app.count("arrived" if passes else "not_found")
        return app.tiers[app.app.default_tier.tier_id][0] + b"\r\n" if passes else answers.NOT_FOUND

    def reset_first_seen(self, app_id: str, user_id: str) -> None:
        """Their next request is a first sight again."""
        self._first_seen.reset_first_seen(app_id, user_id)


def _target(app_id: str) -> bytes:
    """What a middleware's address asks for."""
    return b"/gate?app=" + app_id.encode()


def _unavailable(app: PreparedApp, headers: Headers) -> bytes:
    app.count("identity_unavailable")
    return with_cors_headers(app.cors, headers, answers.IDENTITY_UNAVAILABLE)


def _is_preflight(app: PreparedApp, headers: Headers) -> bool:
    """Origin and Access-Control-Request-Method, and no credential: a browser never sends one with a preflight."""
    asked = names.ORIGIN in headers and names.REQUESTED_METHOD in headers
    return asked and not app.access.identity.may_have_credential(headers)


def _wants_page(method: str, headers: Headers) -> bool:
    accept, mode = headers.get(names.ACCEPT, b""), headers.get(names.FETCH_MODE, b"")
    return wants_page(method, accept.decode("latin-1"), mode.decode("latin-1"))

"""The gate: one request in, the bytes of one answer out, from memory alone."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from urllib.parse import parse_qsl

from gateway.access import arrival
from gateway.access.app_access import AppAccess
from gateway.access.assertion import Signer
from gateway.access.classes import has_class
from gateway.access.cookies import AGAIN
from gateway.access.keys import KeyOwner
from gateway.access.paths import Path, read_path
from gateway.access.policy import UPGRADE_PATH, Allow, MethodRefused, SignInRequired, TierRequired, wants_page
from gateway.access.table import TierTable
from gateway.access.who import Ask, Known, Refused, Resolve, Told
from gateway.catalog.reserved import ARRIVED_PATH
from gateway.errors import TooMany, UpstreamFailed
from gateway.gate import answers, refusals
from gateway.gate import request as names
from gateway.gate.allowed import allowed, last_lines
from gateway.gate.asking import ASK_SECONDS, Asking, Waiting
from gateway.gate.changes import Changes, Stream
from gateway.gate.cors import readable
from gateway.gate.first_seen import FirstSeenUsers, Held
from gateway.gate.keeping import Keeping
from gateway.gate.memory import Memory
from gateway.gate.plans_links import PlansLinks, SignLink
from gateway.gate.prepared import PreparedApp
from gateway.gate.request import Headers, canonical_names
from gateway.gate.usual import Usual
from gateway.metrics import CONTENT_TYPE, Registry
from gateway.settings import Secret, Secrets

REQUESTS = "skpay_gate_requests_total", "Requests the gate decided.", ("app", "tier", "outcome")
NOT_VERIFIED = (
    "skpay_sessions_not_verified_total", "Requests with a session that does not verify, by why.", ("app", "code"),
)  # fmt: skip
_MAX_NAMED = 1000  # people whose keys changed at once; if more, forgetting all is shorter
_ARRIVED = ARRIVED_PATH + "/"  # in normal form

Answer = bytes | Stream | Waiting


class Gate:
    """Answers Traefik. Holds nothing but what `install` and `app` gave it; no answer waits, but for an `Ask` and for a
    first-seen user's limits.

    `sign_link` makes the `t` of an upgrade link. `first_sight(app_id, user_id)` is called once
    for a user who is not in the table; again with a later request if it answers False; a future: see `first_seen`.
    `traefik_document()` is the whole dynamic configuration, None while there is none. `resolve` answers an `Ask`.
    `arrival_keys` verify doctor's passes.
    """

    def __init__(
        self,
        *,
        secrets: Secrets,
        public_url: str,
        table: TierTable,
        sign_link: SignLink,
        registry: Registry,
        first_sight: Callable[[str, str], object] = lambda app_id, user_id: None,
        traefik_document: Callable[[], bytes | None] = lambda: None,
        resolve: Resolve | None = None,
        arrival_keys: Sequence[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secrets or not all(secret.reveal() for secret in secrets):
            raise ValueError("the gate needs a secret that is not empty")
        self._secrets = tuple(secret.reveal().encode() for secret in secrets)
        self._public_url = public_url
        self._table = table
        self._links = PlansLinks(public_url, sign_link)
        self._first_seen = FirstSeenUsers(first_sight)
        self._traefik_document = traefik_document
        self._asking = None if resolve is None else Asking(resolve)
        self._arrival_keys = arrival_keys
        self._clock = clock
        self.registry = registry
        self._requests = registry.counter(*REQUESTS)
        self._forbidden = self._requests.of("", "", "forbidden")
        self._not_ready = self._requests.of("", "", "not_ready")
        self._not_verified = registry.counter(*NOT_VERIFIED)
        self._unknown = self._requests.of("", "", "unknown_app")
        self._targets: dict[bytes, PreparedApp] = {}
        self._memory = Memory(registry, table)
        self.reads = canonical_names()
        self.changes = Changes(registry)
        self._keeping = Keeping(self.changes, table)
        self.usual = Usual(table, self._first_seen.meet, self._keeping, clock)
        self._ready = False

    @property
    def ready(self) -> bool:
        """Every app and every user has been loaded; until then nobody is let through."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready
        self.usual.forget()

    def install(
        self, apps: Mapping[str, AppAccess], signer: Signer | None = None, only_of: Iterable[KeyOwner] | None = None
    ) -> None:
        """Answer by these apps from the next request on: all of them change at once. `signer` must be there if any of
        them wants assertions. `only_of`: nothing but the keys of these people changed. None: anything may have.
        """
        prepared = {app_id: PreparedApp(access, self._requests, signer) for app_id, access in apps.items()}
        self._memory.watch(apps)
        self.reads = canonical_names(name for access in apps.values() for name in access.identity.request_headers)
        self._first_seen.unsee_all()  # an app may have LiteLLM limits from now on, which those it has seen must get too
        self._targets = {_target(app_id): app for app_id, app in prepared.items()}
        self.usual.forget()
        owners = None if only_of is None else set(islice(only_of, _MAX_NAMED + 1))
        if owners is None or len(owners) > _MAX_NAMED:
            self.changes.forget_all(apps)
        else:
            for owner in owners:
                self.changes.changed(owner.app_id, owner.user_id)

    def credential_changed(self, app_id: str, user_id: str) -> None:
        """What was taken for this person may be taken no more. Call it in the step of the loop in which that is so."""
        self.usual.forget_user(app_id, user_id)
        self.changes.changed(app_id, user_id)

    def unseen(self, access: AppAccess, registry: Registry, secret: Secret, signer: Signer, link: str) -> Gate:
        """A gate for this app that answers as this one does, of which nobody hears: it counts into `registry`, tells
        nobody whom it met, and signs with what it is given. `secret` opens it; every upgrade link is `link`."""
        double = Gate(
            secrets=(secret,),
            public_url=self._public_url,
            table=self._table,
            sign_link=lambda *_, **__: link,
            registry=registry,
            resolve=None if self._asking is None else self._asking.resolve,
            arrival_keys=self._arrival_keys,
            clock=self._clock,
        )
        double.install({access.app.app_id: access}, signer)
        double.ready = self.ready
        return double

    def answer(self, method: bytes, url: bytes, headers: Headers, whole: bytes | None = None) -> Answer:
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
            return self._gate(app, headers, whole)
        path, _, query = url.partition(b"?")
        if path == b"/gate":
            return self._gate_of(query, headers)
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

    def _gate_of(self, query: bytes, headers: Headers) -> bytes | Waiting:
        """The app that the middleware's address names in another spelling: exactly one `app`, nothing else."""
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            pairs = []
        named = pairs[0][1] if len(pairs) == 1 and pairs[0][0] == "app" else ""
        app = self._targets.get(_target(named))
        if not self._ready:
            self._not_ready.value += 1
            return answers.NOT_READY if app is None else readable(app.cors, headers, answers.NOT_READY)
        if app is None:
            self._unknown.value += 1
            return answers.NO_SUCH_APP
        return self._gate(app, headers)

    def _gate(self, app: PreparedApp, headers: Headers, whole: bytes | None = None) -> bytes | Waiting:
        """The decision about one proxied request."""
        host, uri, method = headers.get(names.HOST), headers.get(names.URI), headers.get(names.METHOD)
        if host is None or not (host in app.host_bytes or app.has_host(host)):
            app.count("wrong_host")
            return readable(app.cors, headers, answers.FORBIDDEN_HOST)
        verb = names.method_name(method)
        if verb is None or uri is None or uri[:1] != b"/" or AGAIN in uri:
            app.count("bad_request")
            return readable(app.cors, headers, answers.BAD_REQUEST)
        target = uri.decode("utf-8", "surrogateescape")
        path = read_path(target)
        if path.literal == _ARRIVED:
            return self._arrival(app, target)
        now = int(self._clock())
        who = app.access.identity.who(headers, now)
        if not isinstance(who, Ask):
            held = self._held(app, who)
            if held is not None:
                return self._answer_once_provisioned(held, app, headers, whole)
            return self._decide(app, headers, verb, path, who, now, whole)
        if self._asking is None:
            return _unavailable(app, headers)
        return self._answer_once_told(self._asking, app, who, headers, verb, path, whole)

    def _held(self, app: PreparedApp, who: Told) -> Held | None:
        """What a request waits for, if its user was never seen before and has no limits in LiteLLM yet."""
        if not isinstance(who, Known) or self._table.tier_of(app.app_id, who.user_id, ""):
            return None
        return self._first_seen.meet(app.app_id, who.user_id)

    async def _answer_once_provisioned(
        self, held: Held, app: PreparedApp, headers: Headers, whole: bytes | None
    ) -> bytes:
        await self._first_seen.wait(held)
        return await self._answer_anew(app, headers, whole)

    async def _answer_anew(self, app: PreparedApp, headers: Headers, whole: bytes | None) -> bytes:
        """By the apps of now: they may have changed while the request waited."""
        current = self._targets.get(_target(app.app_id))
        answer = answers.NO_SUCH_APP if current is None else self._gate(current, headers, whole)
        return answer if isinstance(answer, bytes) else await answer

    async def _answer_once_told(
        self, asking: Asking, app: PreparedApp, ask: Ask, headers: Headers, method: str, path: Path, whole: bytes | None
    ) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                who = await asking.told(app.app_id, ask)
                held = self._held(app, who)
                if held is not None:  # it ends before the time is over, or the person would be refused
                    await self._first_seen.wait(held, loop.time() - began)
                if self._targets.get(_target(app.app_id)) is app:
                    return self._decide(app, headers, method, path, who, int(self._clock()), whole)
                # Apps or keys have changed meanwhile: nothing is answered by what was.
                return await self._answer_anew(app, headers, whole)
        except (UpstreamFailed, TooMany, TimeoutError):
            return _unavailable(app, headers)

    def _decide(
        self, app: PreparedApp, headers: Headers, method: str, path: Path, who: Told, now: int, whole: bytes | None
    ) -> bytes:
        tier_id, user_id = "", None
        if isinstance(who, Known):
            user_id = who.user_id
            tier_id = self._table.tier_of(app.app_id, user_id, "")
        elif isinstance(who, Refused) and (who.is_cookie or who.signed_out):
            self._not_verified.of(app.app_id, who.code).value += 1
        if path.literal == UPGRADE_PATH and method in ("GET", "HEAD"):
            page = _wants_page(method, headers)
            return readable(app.cors, headers, self._links.upgrade(app, headers, who, tier_id, page, now))
        preflight = method == "OPTIONS" and _is_preflight(app, headers)
        decision = app.access.policy.decide(who, tier_id, method, path, preflight=preflight)
        if isinstance(decision, Allow):
            # A preflight is known by more than its parts tell; a refused credential may be good one day.
            if whole is not None and method != "OPTIONS" and not isinstance(who, Refused):
                self.usual.remember(whole, app, method, who)
            answer = allowed(app, decision, user_id, last_lines(user_id), now)
            if names.PLUGIN in headers and not preflight and has_class(path):
                return self._keeping.to_keep(answer, app, decision, who, now)
            return answer
        return readable(app.cors, headers, self._refusal(app, headers, method, path, who, decision, now))

    def _refusal(
        self,
        app: PreparedApp,
        headers: Headers,
        method: str,
        path: Path,
        who: Told,
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
        return refusals.sign_in(app, who, decision.reason, page and not app.is_sign_in_page(path))

    def _arrival(self, app: PreparedApp, target: str) -> bytes:
        """`/.skpayments/arrived`: doctor passes as nobody on the first tier, everybody else finds nothing there."""
        passes = arrival.may_see(self._arrival_keys, target, app.app_id, int(self._clock()))
        app.count("arrived" if passes else "not_found")
        return app.tiers[app.app.default_tier.tier_id][0] + b"\r\n" if passes else answers.NOT_FOUND

    def unsee(self, app_id: str, user_id: str) -> None:
        """Their next request is a first sight again."""
        self._first_seen.unsee(app_id, user_id)


def _target(app_id: str) -> bytes:
    """What a middleware's address asks for."""
    return b"/gate?app=" + app_id.encode()


def _unavailable(app: PreparedApp, headers: Headers) -> bytes:
    app.count("identity_unavailable")
    return readable(app.cors, headers, answers.IDENTITY_UNAVAILABLE)


def _is_preflight(app: PreparedApp, headers: Headers) -> bool:
    """Origin and Access-Control-Request-Method, and no credential: a browser never sends one with a preflight."""
    asked = names.ORIGIN in headers and names.ASKED_METHOD in headers
    return asked and not app.access.identity.holds_credential(headers)


def _wants_page(method: str, headers: Headers) -> bool:
    accept, mode = headers.get(names.ACCEPT, b""), headers.get(names.FETCH_MODE, b"")
    return wants_page(method, accept.decode("latin-1"), mode.decode("latin-1"))

"""The gate: one call of Traefik in, one whole answer out, from memory alone."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from gateway.access.app_access import AppAccess
from gateway.access.assertion import Signer
from gateway.access.authentication import ResolveLookup
from gateway.access.table import TierTable
from gateway.gate import answers
from gateway.gate import request as names
from gateway.gate.allow_response import AllowResponses
from gateway.gate.changes import Changes, Stream
from gateway.gate.cors import with_cors_headers
from gateway.gate.credential_lookups import CredentialResolver, PendingAnswer
from gateway.gate.first_seen import FirstSeenUsers
from gateway.gate.forward_auth import ForwardAuth
from gateway.gate.memory_gauges import MemoryGauges
from gateway.gate.plans_links import PlansLinks, SignLink
from gateway.gate.plugin_caching import PluginCaching
from gateway.gate.prepared_app import PreparedApp
from gateway.gate.request import Headers, canonical_names
from gateway.gate.request_cache import RequestCache
from gateway.metrics import CONTENT_TYPE, Registry
from gateway.settings import Secret, Secrets

REQUESTS = "skpay_gate_requests_total", "Requests to the gate by outcome.", ("app", "tier", "outcome")

Answer = bytes | Stream | PendingAnswer


class GateHandler:
    """Answers Traefik. Its only state is what `install` and its owner give it.

    `sign_link` makes the `t` of an upgrade link. `on_first_seen(app_id, user_id)` is called once for a user who is not
    in the table, and again with a later request if it returns False; if it returns a future, see `first_seen`.
    `traefik_document()` is the whole dynamic configuration, None while there is none. `resolve` answers a
    `CredentialLookup`. `echo_token_keys` verify doctor's tokens.
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
        self._first_seen = FirstSeenUsers(on_first_seen)
        self._traefik_document = traefik_document
        self._lookups = None if resolve is None else CredentialResolver(resolve)
        self._echo_token_keys = echo_token_keys
        self._clock = clock
        self.registry = registry
        # What the operator should know although the gate answers, by name; set by the owner.
        self.problems: Callable[[], Mapping[str, str]] = dict
        self._requests = registry.counter(*REQUESTS)
        self._targets: dict[bytes, PreparedApp] = {}
        self._memory = MemoryGauges(registry, table)
        self.reads = canonical_names()
        self.changes = Changes(registry)
        responses = AllowResponses(PluginCaching(self.changes, table))
        self.request_cache = RequestCache(table, self._first_seen.report_if_new, responses, clock)
        self._forward_auth = ForwardAuth(
            table=table, links=PlansLinks(public_url, sign_link), first_seen=self._first_seen, lookups=self._lookups,
            responses=responses, request_cache=self.request_cache, echo_token_keys=echo_token_keys, registry=registry,
            current_app=lambda app_id: self._targets.get(_target(app_id)), clock=clock,
        )  # fmt: skip
        self._ready = False

    @property
    def ready(self) -> bool:
        """Every app and user has been loaded; until then no request passes."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready
        self.request_cache.forget()

    def install(
        self,
        apps: Mapping[str, AppAccess],
        signer: Signer | None = None,
        *,
        configuration: str = "",
        only_keys: bool = False,
    ) -> None:
        """Use these apps from the next request on; all change at once. `signer` is required if any of them wants
        assertions. `configuration`: see `Changes.all_changed`. `only_keys`: nothing but user keys changed, and the
        change log names their users."""
        prepared = {app_id: PreparedApp(access, self._requests, signer) for app_id, access in apps.items()}
        self._memory.watch(apps)
        self.reads = canonical_names(name for access in apps.values() for name in access.identity.request_headers)
        self._first_seen.reset_all_first_seen()  # an app may have LiteLLM limits now
        self._targets = {_target(app_id): app for app_id, app in prepared.items()}
        self.request_cache.forget()
        if not only_keys:
            self.changes.all_changed(apps, configuration)

    def credential_changed(self, app_id: str, user_id: str) -> None:
        """Call it synchronously when a credential of this user becomes invalid."""
        self.request_cache.forget_user(app_id, user_id)
        self.changes.user_changed(app_id, user_id)

    def dry_run(self, access: AppAccess, registry: Registry, secret: Secret, signer: Signer, link: str) -> GateHandler:
        """A gate for this app with the same answers and no side effects: it counts into `registry`, reports no
        first-seen user, signs with `signer`, and every upgrade link is `link`. `secret` is its gate secret."""
        copy = GateHandler(
            secrets=(secret,),
            public_url=self._public_url,
            table=self._table,
            sign_link=lambda *_, **__: link,
            registry=registry,
            resolve=None if self._lookups is None else self._lookups.resolve,
            echo_token_keys=self._echo_token_keys,
            clock=self._clock,
        )
        copy.install({access.app.app_id: access}, signer)
        copy.ready = self.ready
        return copy

    def answer(self, method: bytes, url: bytes, headers: Headers, raw_request: bytes | None = None) -> Answer:
        """The whole answer to a call, or what it becomes. Without the secret nothing else is read.

        `raw_request`: the bytes of a request that arrived whole, for the request cache.
        """
        secret = headers.get(names.GATE)
        if secret is None:
            authorization = headers.get(names.AUTHORIZATION, b"")
            if authorization[:7].lower() == b"bearer ":
                secret = authorization[7:]
                del headers[names.AUTHORIZATION]  # the gate's secret is no credential of a user
        if secret is None or not self._is_secret(secret):
            if url == b"/ready" and method == b"GET":
                return answers.readiness(self._ready, None)
            self._count("forbidden")
            return answers.FORBIDDEN_SECRET
        if method != b"GET" and method != b"HEAD":
            return answers.BAD_METHOD
        app = self._targets.get(url)
        if app is not None and self._ready:
            return self._forward_auth.answer(app, headers, raw_request)
        path, _, query = url.partition(b"?")
        if path == b"/gate":
            return self._authorize_by_query(query, headers)
        if path == b"/traefik":
            document = self._traefik_document() if self._ready else None
            return answers.NOT_READY if document is None else answers.answer(200, document, "application/json")
        if path == b"/gate/changes" and method == b"GET":
            return self._stream()
        if path == b"/ready":
            return answers.readiness(self._ready, self.problems())
        if path == b"/metrics":
            return answers.answer(200, self.registry.render().encode(), CONTENT_TYPE)
        return answers.NOT_FOUND

    def _stream(self) -> bytes | Stream:
        if not self._ready:
            return answers.NOT_READY
        return answers.TOO_MANY_STREAMS if self.changes.full else Stream(self.changes)

    def _is_secret(self, secret: bytes) -> bool:
        matched = False
        for valid in self._secrets:
            matched |= hmac.compare_digest(secret, valid)
        return matched

    def _authorize_by_query(self, query: bytes, headers: Headers) -> bytes | PendingAnswer:
        """The middleware's address in another spelling: exactly one `app`, nothing else."""
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            pairs = []
        named = pairs[0][1] if len(pairs) == 1 and pairs[0][0] == "app" else ""
        app = self._targets.get(_target(named))
        if not self._ready:
            self._count("not_ready")
            return answers.NOT_READY if app is None else with_cors_headers(app.cors, headers, answers.NOT_READY)
        if app is None:
            self._count("unknown_app")
            return answers.NO_SUCH_APP
        return self._forward_auth.answer(app, headers)

    def _count(self, outcome: str) -> None:
        """A request that was decided without an app."""
        self._requests.of("", "", outcome).value += 1

    def reset_first_seen(self, app_id: str, user_id: str) -> None:
        """The user's next request is reported as their first."""
        self._first_seen.reset_first_seen(app_id, user_id)


def _target(app_id: str) -> bytes:
    """The path and query of a middleware's address."""
    return b"/gate?app=" + app_id.encode()

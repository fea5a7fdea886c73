"""Answers the gate's `CredentialLookup`s: Open WebUI sessions, LiteLLM keys, an issuer's newer signing keys."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp

from gateway.access.app_access import AppAccess
from gateway.access.authentication import Administrator, AuthenticatedUser, CredentialLookup, RejectedCredential
from gateway.access.credential_verifier import CredentialVerifier
from gateway.access.introspection_cache import STALE_RECHECK_SECONDS, IntrospectionCache, digest_of, refusal
from gateway.access.litellm_keys import LiteLLMKeys, digest_from_hex
from gateway.access.oidc import OidcTokens
from gateway.access.openwebui import API_KEY_START, OpenWebUI
from gateway.app.introspection import introspect
from gateway.app.key_sets import KeySets
from gateway.catalog.model import Catalog, JwtIdentity
from gateway.errors import InvalidInput, NotAuthenticated, UpstreamFailed
from gateway.litellm import LiteLLM, check_litellm_id
from gateway.log import fields
from gateway.metrics import Registry

log = logging.getLogger(__name__)

ASK_SECONDS = 0.8
MAX_AT_ONCE = 64
"""Of one app. Whoever was confirmed within the hour or shows a session that is signed may use all, anybody else half:
junk, which everybody can make up, keeps none of them waiting."""
_MAX_UNRECOGNISED_AT_ONCE = MAX_AT_ONCE // 2
MAX_WAITING_UNRECOGNISED = 256
"""Requests of one app that wait for an answer about junk, or about who is new. The gate has so many places for all who
wait, and the same key sent a thousand times would fill them."""

Changed = Callable[[str, str], None]
_Lookup = asyncio.Task[AuthenticatedUser | RejectedCredential]


def identity_session() -> aiohttp.ClientSession:
    """For asking: keeps no cookie, which would be somebody's session, and unpacks nothing."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


class CredentialResolver:
    """`access(app_id)` is an app as it is now. `changed(app_id, user_id)` is called in the step of the loop in which
    what was taken for this person is taken no more, `keys_removed(url)` in that in which an issuer's key is not."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        litellm: LiteLLM | None,
        *,
        access: Callable[[str], AppAccess | None],
        changed: Changed,
        keys_removed: Callable[[str], None],
        registry: Registry,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._litellm = litellm
        self._access = access
        self._changed = changed
        self._clock = clock
        self.key_sets = KeySets(session, clock, keys_removed)
        # With the kind: what was asked before a reload is no answer after it.
        self._lookups: dict[tuple[str, CredentialLookup, CredentialVerifier | None], _Lookup] = {}
        self._at_once: Counter[str] = Counter()
        self._waiting_unrecognised: Counter[str] = Counter()
        # (app id, the kind's kind_key) → until when it is thought not to answer, in the loop's time.
        self._unresponsive_until: dict[tuple[str, int], float] = {}
        self._lookups_total = registry.counter(
            "skpay_identity_lookups_total", "Credentials that others were asked about.", ("app", "kind", "outcome")
        )

    def follow(self, catalog: Catalog) -> None:
        """Keep the keys of every issuer that these apps name."""
        kinds = (kind for app in catalog.apps.values() for kind in app.identity)
        self.key_sets.follow(kind.jwks_url for kind in kinds if isinstance(kind, JwtIdentity))

    async def stop(self) -> None:
        """Ask nobody any more. Twice is once."""
        flights = list(self._lookups.values())
        for lookup in flights:
            lookup.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self.key_sets.stop()

    async def resolve(self, app_id: str, ask: CredentialLookup) -> AuthenticatedUser | RejectedCredential:
        """Whose the credential is; the same question asked twice at once is one. Within 0.8 s.

        Raises `UpstreamFailed` where those who know do not say, and have not within the hour, or too much is asked.
        """
        found = self._access(app_id)
        kind = None if found is None else found.identity.kinds.get(ask.number)
        if self._is_recognised(ask, kind):
            lookup = self._lookup(app_id, ask, kind, MAX_AT_ONCE)
            last_good = self._last_good(ask, kind) if lookup is None else None
            if last_good is not None:
                self._count(app_id, ask, "last_good")
                return last_good
            return await asyncio.shield(self._require_capacity(lookup, app_id, ask))
        if self._waiting_unrecognised[app_id] >= MAX_WAITING_UNRECOGNISED:
            return await self._require_capacity(None, app_id, ask)
        self._waiting_unrecognised[app_id] += 1
        try:
            lookup = self._lookup(app_id, ask, kind, _MAX_UNRECOGNISED_AT_ONCE)
            return await asyncio.shield(self._require_capacity(lookup, app_id, ask))
        finally:
            self._waiting_unrecognised[app_id] -= 1

    def _require_capacity(self, lookup: _Lookup | None, app_id: str, ask: CredentialLookup) -> _Lookup:
        """`lookup`. Raises `UpstreamFailed` where there was no room for one."""
        if lookup is None:
            self._count(app_id, ask, "busy")
            raise UpstreamFailed("Too many are asking who they are.", detail=app_id)
        return lookup

    def _lookup(self, app_id: str, ask: CredentialLookup, kind: CredentialVerifier | None, room: int) -> _Lookup | None:
        """The one question about this credential that is under way; None if as many as `room` are."""
        lookup = self._lookups.get((app_id, ask, kind))
        if lookup is not None:
            return lookup
        if self._at_once[app_id] >= room:
            return None
        self._at_once[app_id] += 1
        lookup = self._lookups[app_id, ask, kind] = asyncio.create_task(self._answer(app_id, ask, kind))
        lookup.add_done_callback(lambda task: self._lookup_done(app_id, ask, kind, task))
        return lookup

    def _lookup_done(
        self, app_id: str, ask: CredentialLookup, kind: CredentialVerifier | None, lookup: _Lookup
    ) -> None:
        del self._lookups[app_id, ask, kind]
        self._at_once[app_id] -= 1
        if not lookup.cancelled():
            lookup.exception()  # whoever waits has it; perhaps nobody does any more

    async def _answer(
        self, app_id: str, ask: CredentialLookup, kind: CredentialVerifier | None
    ) -> AuthenticatedUser | RejectedCredential:
        try:
            if isinstance(kind, OpenWebUI) and ask.kind == "openwebui":
                return await self._confirm(app_id, ask, kind.introspection_cache, lambda: self._open_webui(kind, ask))
            if isinstance(kind, LiteLLMKeys) and ask.kind == "litellm_key":
                return await self._confirm(app_id, ask, kind.introspection_cache, lambda: self._litellm_key(kind, ask))
            if isinstance(kind, OidcTokens) and ask.kind == "jwt":
                return await self._verify_with_current_keys(app_id, ask, kind)
        except NotAuthenticated as exc:
            self._count(app_id, ask, "refused")
            return RejectedCredential(exc.code, exc.message, ask.source)
        # apps.json was changed since the gate looked; it will look again.
        raise UpstreamFailed("The app finds its users in another way now.", detail=app_id)

    async def _confirm(
        self,
        app_id: str,
        ask: CredentialLookup,
        confirmed: IntrospectionCache,
        lookup: Callable[[], Awaitable[AuthenticatedUser]],
    ) -> AuthenticatedUser:
        """Ask, or take what was said last while nobody answers. Raises `NotAuthenticated`, `UpstreamFailed`."""
        digest = _digest(ask)
        kind_key = app_id, ask.number
        before, was_admin = confirmed.last_user_id(digest, self._now()), confirmed.is_administrator(digest, self._now())
        try:
            if before is not None and self._unresponsive_until.get(kind_key, 0) > asyncio.get_running_loop().time():
                raise UpstreamFailed("They did not answer a moment ago.")
            async with asyncio.timeout(ASK_SECONDS):
                known = await lookup()
        except NotAuthenticated as exc:
            confirmed.refuse(digest, exc.code, self._now())
            if before is not None:
                self._changed(app_id, before)
            raise
        except (UpstreamFailed, TimeoutError) as exc:
            self._mark_unresponsive(kind_key, ask, exc)
            last_good = confirmed.last_known_good(digest, self._now())
            self._count(app_id, ask, "unanswered" if last_good is None else "last_good")
            if last_good is None:
                raise UpstreamFailed("Those who know the credential do not answer.") from exc
            return last_good
        self._unresponsive_until.pop(kind_key, None)
        if before is not None and (before != known.user_id or was_admin != isinstance(known, Administrator)):
            self._changed(app_id, before)
        self._count(app_id, ask, "confirmed")
        return known

    async def _open_webui(self, kind: OpenWebUI, ask: CredentialLookup) -> AuthenticatedUser:
        named, role = await introspect(self._session, kind.introspect or "", ask.credential)
        return kind.confirm(ask.credential, named, self._now(), role)

    async def _litellm_key(self, kind: LiteLLMKeys, ask: CredentialLookup) -> AuthenticatedUser:
        if self._litellm is None:
            raise UpstreamFailed("LITELLM_URL is not set.")
        holder = await self._litellm.key_holder(ask.credential.decode("ascii"))
        if holder is None:
            raise refusal("unknown_key")
        try:
            check_litellm_id(holder.litellm_id)
        except InvalidInput as exc:
            raise refusal("unknown_key") from exc  # LiteLLM's own, such as whoever holds the master key
        return kind.confirm(ask.credential, holder.litellm_id, self._now(), holder.expires_at)

    async def _verify_with_current_keys(
        self, app_id: str, ask: CredentialLookup, kind: OidcTokens
    ) -> AuthenticatedUser:
        answer = kind.read(ask.credential, ask.source, self._now())
        if isinstance(answer, CredentialLookup):
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self.key_sets.read(kind.ring)
            except (UpstreamFailed, TimeoutError) as exc:
                self._count(app_id, ask, "unanswered")
                raise UpstreamFailed("The issuer's keys cannot be read.") from exc
            answer = kind.read(ask.credential, ask.source, self._now())
        if isinstance(answer, CredentialLookup):
            raise UpstreamFailed("The issuer's keys cannot be read.")
        self._count(app_id, ask, "confirmed")
        return answer

    def _is_recognised(self, ask: CredentialLookup, kind: CredentialVerifier | None) -> bool:
        if isinstance(kind, OpenWebUI) and not ask.credential.startswith(API_KEY_START):
            return True  # its signature is good, or nobody would be asked
        if not isinstance(kind, OpenWebUI | LiteLLMKeys):
            return False
        return kind.introspection_cache.last_user_id(_digest(ask), self._now()) is not None

    def _last_good(self, ask: CredentialLookup, kind: CredentialVerifier | None) -> AuthenticatedUser | None:
        """Too much is asked to ask for this, too: whom they said last, if that was within the hour."""
        if not isinstance(kind, OpenWebUI | LiteLLMKeys):
            return None
        return kind.introspection_cache.last_known_good(_digest(ask), self._now())

    def _mark_unresponsive(self, kind_key: tuple[str, int], ask: CredentialLookup, exc: Exception) -> None:
        """For a few seconds nobody who was confirmed before waits for them again."""
        now = asyncio.get_running_loop().time()
        if self._unresponsive_until.get(kind_key, 0) <= now:
            detail = getattr(exc, "detail", "") or getattr(exc, "message", "") or "no answer in time"
            details = fields(app_id=kind_key[0], kind=ask.kind, detail=detail)
            if getattr(exc, "retryable", True):
                log.warning("identity_provider_unresponsive", extra=details)
            else:
                log.error("identity_provider_rejected", extra=details)
            self._unresponsive_until[kind_key] = now + STALE_RECHECK_SECONDS

    def _now(self) -> int:
        return int(self._clock())

    def _count(self, app_id: str, ask: CredentialLookup, outcome: str) -> None:
        self._lookups_total.of(app_id, ask.kind, outcome).value += 1


def _digest(ask: CredentialLookup) -> bytes:
    return digest_from_hex(ask.credential) if ask.kind == "litellm_key" else digest_of(ask.credential)

"""Resolves the gate's `CredentialLookup`s by asking the issuer of the credential."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

import aiohttp

from gateway.access.app_access import AppAccess
from gateway.access.authentication import Administrator, AuthenticatedUser, CredentialLookup, RejectedCredential
from gateway.access.identity.verifier import CredentialVerifier
from gateway.access.introspection_cache import STALE_RECHECK_SECONDS, IntrospectionCache
from gateway.app.identity.registry import LOOKUPS
from gateway.app.identity.services import LookupServices
from gateway.app.key_sets import KeySets
from gateway.catalog.model import Catalog
from gateway.errors import NotAuthenticated, UpstreamFailed
from gateway.litellm import LiteLLM
from gateway.log import fields
from gateway.metrics import Registry

log = logging.getLogger(__name__)

LOOKUP_SECONDS = 0.8
MAX_AT_ONCE = 64
"""Lookups of one app at the same time. Credentials confirmed within the hour and signed sessions may use all, others
half: made-up credentials cannot make known users wait."""
_MAX_UNRECOGNISED_AT_ONCE = MAX_AT_ONCE // 2
MAX_WAITING_UNRECOGNISED = 256
"""Requests of one app that wait for the lookup of an unrecognised credential. The gate has a limited number of places
for waiting requests, and the same made-up key sent a thousand times would fill them."""

Changed = Callable[[str, str], None]
_Lookup = asyncio.Task[AuthenticatedUser | RejectedCredential]


def identity_session() -> aiohttp.ClientSession:
    """For lookups: keeps no cookie, which would be some user's session, and decompresses nothing."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


class CredentialResolver:
    """`access(app_id)` is an app as it is now. `changed(app_id, user_id)` is called synchronously when a user's
    credential becomes invalid, `keys_removed(url)` when an issuer removes a key."""

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
        self._access = access
        self._changed = changed
        self.key_sets = KeySets(session, clock, keys_removed)
        self._services = LookupServices(session, litellm, self.key_sets, clock)
        # Keyed by the verifier as well: a result from before a reload is not valid after it.
        self._lookups: dict[tuple[str, CredentialLookup, CredentialVerifier | None], _Lookup] = {}
        self._at_once: Counter[str] = Counter()
        self._waiting_unrecognised: Counter[str] = Counter()
        # (app id, the entry's number) → until when its issuer is considered unresponsive, in the loop's time.
        self._unresponsive_until: dict[tuple[str, int], float] = {}
        self._lookups_total = registry.counter(
            "skpay_identity_lookups_total", "Credentials looked up at identity providers.", ("app", "kind", "outcome")
        )

    def follow(self, catalog: Catalog) -> None:
        """Keep the keys of every issuer in the catalog up to date."""
        urls = (kind.key_set_url for app in catalog.apps.values() for kind in app.identity)
        self.key_sets.follow(url for url in urls if url is not None)

    async def stop(self) -> None:
        """Cancel all lookups. Idempotent."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.key_sets.stop()

    async def resolve(self, app_id: str, lookup: CredentialLookup) -> AuthenticatedUser | RejectedCredential:
        """The user of the credential, within 0.8 s. Simultaneous lookups of the same credential are made once.

        Raises `UpstreamFailed` if the issuer does not answer and has not within the hour, or at too many lookups.
        """
        verifier = self._verifier(app_id, lookup)
        if self._is_recognised(lookup, verifier):
            task = self._task(app_id, lookup, verifier, MAX_AT_ONCE)
            last_good = self._last_good(lookup, verifier) if task is None else None
            if last_good is not None:
                self._count(app_id, lookup, "last_good")
                return last_good
            return await asyncio.shield(self._require_capacity(task, app_id, lookup))
        if self._waiting_unrecognised[app_id] >= MAX_WAITING_UNRECOGNISED:
            return await self._require_capacity(None, app_id, lookup)
        self._waiting_unrecognised[app_id] += 1
        try:
            task = self._task(app_id, lookup, verifier, _MAX_UNRECOGNISED_AT_ONCE)
            return await asyncio.shield(self._require_capacity(task, app_id, lookup))
        finally:
            self._waiting_unrecognised[app_id] -= 1

    def _verifier(self, app_id: str, lookup: CredentialLookup) -> CredentialVerifier | None:
        """The verifier that made the lookup; None if apps.json has changed since."""
        access = self._access(app_id)
        verifier = None if access is None else access.identity.verifiers.get(lookup.number)
        return verifier if verifier is not None and verifier.kind == lookup.kind else None

    def _require_capacity(self, task: _Lookup | None, app_id: str, lookup: CredentialLookup) -> _Lookup:
        """`task`. Raises `UpstreamFailed` if there was no capacity for one."""
        if task is None:
            self._count(app_id, lookup, "busy")
            raise UpstreamFailed("Too many credentials are being looked up.", detail=app_id)
        return task

    def _task(
        self, app_id: str, lookup: CredentialLookup, verifier: CredentialVerifier | None, limit: int
    ) -> _Lookup | None:
        """The one task for this credential; None if `limit` others are running."""
        task = self._lookups.get((app_id, lookup, verifier))
        if task is not None:
            return task
        if self._at_once[app_id] >= limit:
            return None
        self._at_once[app_id] += 1
        task = self._lookups[app_id, lookup, verifier] = asyncio.create_task(self._answer(app_id, lookup, verifier))
        task.add_done_callback(lambda task: self._done(app_id, lookup, verifier, task))
        return task

    def _done(self, app_id: str, lookup: CredentialLookup, verifier: CredentialVerifier | None, task: _Lookup) -> None:
        del self._lookups[app_id, lookup, verifier]
        self._at_once[app_id] -= 1
        if not task.cancelled():
            task.exception()  # retrieved here, as no request may be waiting for it any more

    async def _answer(
        self, app_id: str, lookup: CredentialLookup, verifier: CredentialVerifier | None
    ) -> AuthenticatedUser | RejectedCredential:
        if verifier is None:
            # apps.json has changed since the gate read it; the retry authenticates with the new one.
            raise UpstreamFailed("The app finds its users in another way now.", detail=app_id)
        try:
            if verifier.introspection_cache is None:
                return await self._look_up(app_id, lookup, verifier)
            return await self._confirm(app_id, lookup, verifier, verifier.introspection_cache)
        except NotAuthenticated as exc:
            self._count(app_id, lookup, "refused")
            return RejectedCredential(exc.code, exc.message, lookup.source)

    async def _look_up(self, app_id: str, lookup: CredentialLookup, verifier: CredentialVerifier) -> AuthenticatedUser:
        """Look up the credential at its issuer. Raises `NotAuthenticated`, `UpstreamFailed`."""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                user = await LOOKUPS[lookup.kind](self._services, verifier, lookup)
        except (UpstreamFailed, TimeoutError) as exc:
            self._count(app_id, lookup, "unanswered")
            raise UpstreamFailed("The issuer of the credential does not answer.") from exc
        self._count(app_id, lookup, "confirmed")
        return user

    async def _confirm(
        self, app_id: str, lookup: CredentialLookup, verifier: CredentialVerifier, cache: IntrospectionCache
    ) -> AuthenticatedUser:
        """As `_look_up`; while the issuer does not answer, the last answer. Raises as `_look_up`."""
        digest, now = verifier.lookup_digest(lookup), self._services.now()
        entry = app_id, lookup.number
        before, was_admin = cache.last_user_id(digest, now), cache.is_administrator(digest, now)
        try:
            if before is not None and self._unresponsive_until.get(entry, 0) > asyncio.get_running_loop().time():
                raise UpstreamFailed("The issuer did not answer a moment ago.")
            async with asyncio.timeout(LOOKUP_SECONDS):
                user = await LOOKUPS[lookup.kind](self._services, verifier, lookup)
        except NotAuthenticated as exc:
            cache.refuse(digest, exc.code, self._services.now())
            if before is not None:
                self._changed(app_id, before)
            raise
        except (UpstreamFailed, TimeoutError) as exc:
            self._mark_unresponsive(entry, lookup, exc)
            last_good = cache.last_known_good(digest, self._services.now())
            self._count(app_id, lookup, "unanswered" if last_good is None else "last_good")
            if last_good is None:
                raise UpstreamFailed("The issuer of the credential does not answer.") from exc
            return last_good
        self._unresponsive_until.pop(entry, None)
        if before is not None and (before != user.user_id or was_admin != isinstance(user, Administrator)):
            self._changed(app_id, before)
        self._count(app_id, lookup, "confirmed")
        return user

    def _is_recognised(self, lookup: CredentialLookup, verifier: CredentialVerifier | None) -> bool:
        """Whether the credential is signed, or was confirmed within the hour."""
        if verifier is None:
            return False
        if verifier.is_signed(lookup.credential):
            return True
        cache = verifier.introspection_cache
        return (
            cache is not None and cache.last_user_id(verifier.lookup_digest(lookup), self._services.now()) is not None
        )

    def _last_good(self, lookup: CredentialLookup, verifier: CredentialVerifier | None) -> AuthenticatedUser | None:
        """The issuer's last answer within the hour."""
        if verifier is None or verifier.introspection_cache is None:
            return None
        return verifier.introspection_cache.last_known_good(verifier.lookup_digest(lookup), self._services.now())

    def _mark_unresponsive(self, entry: tuple[str, int], lookup: CredentialLookup, exc: Exception) -> None:
        """For a few seconds, users confirmed before do not wait for this issuer."""
        now = asyncio.get_running_loop().time()
        if self._unresponsive_until.get(entry, 0) <= now:
            detail = getattr(exc, "detail", "") or getattr(exc, "message", "") or "no answer in time"
            details = fields(app_id=entry[0], kind=lookup.kind, detail=detail)
            if getattr(exc, "retryable", True):
                log.warning("identity_provider_unresponsive", extra=details)
            else:
                log.error("identity_provider_rejected", extra=details)
            self._unresponsive_until[entry] = now + STALE_RECHECK_SECONDS

    def _count(self, app_id: str, lookup: CredentialLookup, outcome: str) -> None:
        self._lookups_total.of(app_id, lookup.kind, outcome).value += 1

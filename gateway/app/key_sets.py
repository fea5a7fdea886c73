"""The key sets of OpenID providers: read at the start and every hour, and once more for a key that is not in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import aiohttp
from yarl import URL

from gateway.access.jwks import MAX_DOCUMENT_BYTES, KeyRing, PublicKey, read_keys
from gateway.app.bounded_body import read_at_most
from gateway.billing.work.retry import backoff_seconds
from gateway.errors import UpstreamFailed
from gateway.log import fields

log = logging.getLogger(__name__)

READ_SECONDS = 5.0
AGAIN_SECONDS = 3600
MAX_BACKOFF_SECONDS = 60
LOOK_SECONDS = 60


class KeySets:
    """One `KeyRing` for each address. `gone(url)` is called synchronously when a key is removed from a ring."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float], gone: Callable[[str], None]) -> None:
        self._session = session
        self._clock = clock
        self._on_keys_removed = gone
        self._rings: dict[str, KeyRing] = {}
        self._refresh_tasks: dict[str, asyncio.Task[None]] = {}
        self._reads: dict[str, asyncio.Task[None]] = {}

    def ring(self, url: str) -> KeyRing:
        """The same one for the same address, empty until it was read."""
        return self._rings.setdefault(url, KeyRing(url))

    def follow(self, urls: Iterable[str]) -> None:
        """Keep these up to date from now on, and forget all others."""
        followed = set(urls)
        for url in self._rings.keys() - followed:
            del self._rings[url]
        for url in self._refresh_tasks.keys() - followed:
            self._refresh_tasks.pop(url).cancel()
        for url in followed - self._refresh_tasks.keys():
            self._refresh_tasks[url] = asyncio.create_task(self._refresh_loop(self.ring(url)), name=f"keys of {url}")

    async def stop(self) -> None:
        """Stop reading. Idempotent."""
        tasks = [*self._refresh_tasks.values(), *self._reads.values()]
        self._refresh_tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def problems(self) -> dict[str, str]:
        """The addresses that could not be read when they last were."""
        return {
            f"keys of {url}": "could not be refreshed" if ring.loaded else "not read yet"
            for url, ring in self._rings.items()
            if not ring.current
        }

    async def read(self, ring: KeyRing) -> None:
        """Read the address now, or wait for the read in progress. Raises `UpstreamFailed`, and at once if it was read
        less than a minute ago."""
        if ring.url not in self._reads and not ring.may_refetch(int(self._clock())):
            raise UpstreamFailed("The issuer's keys were read a moment ago.", detail=ring.url)
        await asyncio.shield(self._shared_read(ring))

    def _shared_read(self, ring: KeyRing) -> asyncio.Task[None]:
        """The one reading of an address."""
        reading = self._reads.get(ring.url)
        if reading is None:
            reading = self._reads[ring.url] = asyncio.create_task(self._read(ring))
            reading.add_done_callback(lambda task: self._done(ring.url, task))
        return reading

    def _done(self, url: str, reading: asyncio.Task[None]) -> None:
        del self._reads[url]
        if not reading.cancelled():
            reading.exception()  # marks it as retrieved: every waiting request may be gone

    async def _refresh_loop(self, ring: KeyRing) -> None:
        failures = 0
        while True:
            try:
                await asyncio.shield(self._shared_read(ring))
                failures = 0
            except UpstreamFailed:
                failures += 1
            if failures:
                await asyncio.sleep(min(backoff_seconds(failures), MAX_BACKOFF_SECONDS))
            else:
                await _wait_for_refresh(ring)

    async def _read(self, ring: KeyRing) -> None:
        ring.tried(int(self._clock()))
        try:
            async with asyncio.timeout(READ_SECONDS):
                keys = await self._fetch(ring.url)
        except (UpstreamFailed, TimeoutError) as exc:
            ring.failed()
            detail = getattr(exc, "detail", "") or getattr(exc, "message", "") or "no answer in time"
            log.warning("keys_not_read", extra=fields(url=ring.url, detail=detail))
            raise UpstreamFailed("The issuer's keys could not be read.", detail=detail) from exc
        gone = ring.replace(keys)
        log.info("keys_read", extra=fields(url=ring.url, keys=[key.key_id for key in keys], gone=gone))
        if gone:
            self._on_keys_removed(ring.url)

    async def _fetch(self, url: str) -> tuple[PublicKey, ...]:
        try:
            async with self._session.get(URL(url), allow_redirects=False) as response:
                if response.status != 200:
                    raise UpstreamFailed("The issuer's keys are not there.", detail=f"status {response.status}")
                return read_keys(await read_at_most(response, MAX_DOCUMENT_BYTES))
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamFailed("The issuer could not be reached.", detail=type(exc).__name__) from exc
        except ValueError as exc:
            raise UpstreamFailed("The issuer's keys cannot be used.", detail=str(exc)) from exc


async def _wait_for_refresh(ring: KeyRing) -> None:
    """Wait an hour, or less if a read for a token fails meanwhile: another token could not start one soon."""
    rested = 0.0
    while rested < AGAIN_SECONDS and ring.current:
        await asyncio.sleep(LOOK_SECONDS)
        rested += LOOK_SECONDS

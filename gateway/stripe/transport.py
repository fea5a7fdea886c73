"""Sends requests to Stripe's API: retries, rate limits, rolled keys, pagination.

Source of the retry rules: stripe-python `_http_client.py`. Unlike the library, 429 is retried too. 409 and 429
`lock_timeout` (another request changes the same object) are retried like any other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets as random_secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from gateway.errors import UpstreamFailed
from gateway.log import fields
from gateway.settings import Secrets
from gateway.stripe.errors import StripeError, stripe_error
from gateway.stripe.forms import Params, encode
from gateway.stripe.nested import complete
from gateway.stripe.rate_limiter import RateLimiter, endpoint
from gateway.urls import api_url

API_VERSION = "2026-10-28.endive"
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.5, 5.0
_PAGE = 100

log = logging.getLogger(__name__)

StripeObject = dict[str, Any]


class Transport:
    """Sends requests to Stripe's API. Every POST carries an idempotency key, a random one if the caller passes none.

    With a `rate_limiter`, requests are delayed to stay under Stripe's limits. `date` is the `Date` of Stripe's last
    answer in epoch seconds; `clock_ahead_seconds` is how far `clock` was ahead of it. Both are None before the first.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keys: Secrets,
        *,
        api_base: str,
        attempts: int = 3,
        timeout_seconds: float = 20.0,
        rate_limiter: RateLimiter | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.clock_ahead_seconds: int | None = None
        self.date: int | None = None
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._sleep = sleep
        self._session = session
        self._keys = keys
        self._api_base = api_base.rstrip("/")
        self._attempts = attempts
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=5.0)

    @property
    def livemode(self) -> bool:
        """True if our key is a live one."""
        return "_live_" in self._keys[0].reveal()

    async def get(self, path: str, params: Params | None = None) -> StripeObject:
        return await self._request("GET", path, None, None, encode(params or {}))

    async def post(self, path: str, params: Params, *, idempotency_key: str | None = None) -> StripeObject:
        key = idempotency_key or f"skpay-{random_secrets.token_hex(16)}"
        return await self._request("POST", path, encode(params), key)

    async def delete(self, path: str) -> StripeObject:
        return await self._request("DELETE", path, None, None)

    async def list_all(self, path: str, params: Params | None = None) -> AsyncIterator[StripeObject]:
        """Every object of a list, page by page."""
        async for page in self.pages(path, params):
            for item in page:
                yield item

    async def pages(self, path: str, params: Params | None = None) -> AsyncIterator[list[StripeObject]]:
        """Every page of a list, at most 100 objects each. Raises `UpstreamFailed` rather than leave one out."""
        after: str | None = None
        while True:
            page = await self.get(path, {**(params or {}), "limit": _PAGE, "starting_after": after})
            items = page.get("data")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise UpstreamFailed("Stripe answered something that is not a list.", detail=path)
            yield items
            if not page.get("has_more"):
                return
            last = items[-1].get("id") if items else None
            if not isinstance(last, str) or last == after:  # nothing, or the same page again
                raise UpstreamFailed("Stripe answered a list without a next page.", detail=path)
            after = last

    async def _request(
        self, method: str, path: str, body: str | None, idempotency_key: str | None, query: str = ""
    ) -> StripeObject:
        """Stripe's answer, with every list inside it complete."""
        answer = await self._with_retries(method, path, query, body, idempotency_key)
        await complete(answer, self.pages)
        return answer

    async def _with_retries(
        self, method: str, path: str, query: str, body: str | None, idempotency_key: str | None
    ) -> StripeObject:
        url = api_url(self._api_base, path, query)
        saved_before = False
        for attempt in range(1, self._attempts + 1):
            await self._wait_for_slot(method, path)
            try:
                return await self._with_rolled_keys(method, url, body, idempotency_key)
            except UpstreamFailed as exc:
                retry_after = self._note_retry_after(exc, method, path)
                if isinstance(exc, StripeError):
                    # An answer replayed to a retry was saved by this very call.
                    saved_before = exc.replayed if attempt == 1 else saved_before
                    exc.replayed = saved_before
                retry = exc.retry_now if isinstance(exc, StripeError) else exc.retryable
                if not retry or attempt == self._attempts:
                    raise
                log.warning(
                    "stripe_call_retried",
                    extra=fields(method=method, path=path, attempt=attempt, detail=exc.detail),
                )
            wait = min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _MAX_WAIT_SECONDS)
            wait = max(_FIRST_WAIT_SECONDS, wait * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
            await self._sleep(max(wait, retry_after))
        raise AssertionError("the last attempt returns or raises")

    async def _wait_for_slot(self, method: str, path: str) -> None:
        """Wait until the endpoint has room for one more request."""
        wait = self._rate_limiter.reserve(endpoint(method, path)) if self._rate_limiter else 0
        if wait:
            await self._sleep(wait)

    def _note_retry_after(self, exc: UpstreamFailed, method: str, path: str) -> int:
        """The seconds that Stripe asks to wait. After `rate_limit` all calls of that endpoint wait."""
        if not isinstance(exc, StripeError):
            return 0
        if self._rate_limiter and exc.status == 429 and exc.stripe_code == "rate_limit":
            self._rate_limiter.pause(endpoint(method, path), max(exc.retry_after_seconds, 1))
        return exc.retry_after_seconds

    async def _with_rolled_keys(
        self, method: str, url: URL, body: str | None, idempotency_key: str | None
    ) -> StripeObject:
        """With the newest key; with an older one only if Stripe rejects the newer with 401."""
        for place, key in enumerate(self._keys):
            try:
                return await self._once(method, url, body, idempotency_key, key.reveal())
            except StripeError as exc:
                if exc.status != 401 or place == len(self._keys) - 1:
                    raise
        raise AssertionError("there is at least one key")

    async def _once(
        self, method: str, url: URL, body: str | None, idempotency_key: str | None, key: str
    ) -> StripeObject:
        headers = {"Authorization": f"Bearer {key}", "Stripe-Version": API_VERSION}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                self._note_clock_skew(response)
                raw = await _read(response)
                return _answer(response, raw)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise UpstreamFailed("Stripe cannot be reached.", detail=f"{type(exc).__name__} {method}") from exc

    def _note_clock_skew(self, response: aiohttp.ClientResponse) -> None:
        with suppress(ValueError):  # no Date, or none that can be read
            self.date = int(parsedate_to_datetime(response.headers.get("Date", "")).timestamp())
            self.clock_ahead_seconds = int(self._clock()) - self.date


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        chunks += chunk
        if len(chunks) > _MAX_ANSWER_BYTES:
            raise UpstreamFailed("Stripe answered more than 16 MiB.")
    return bytes(chunks)


def _answer(response: aiohttp.ClientResponse, raw: bytes) -> StripeObject:
    request_id = response.headers.get("Request-Id", "")
    if 300 <= response.status < 400:
        raise UpstreamFailed(
            "Stripe's address answers with a redirect.", code="stripe_refused", retryable=False, status=response.status
        )
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise UpstreamFailed(
            "Stripe answered something that is not JSON.",
            status=response.status,
            detail=f"{response.status} {request_id}",
        ) from exc
    if response.status == 200 and isinstance(document, dict) and "error" not in document:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    error = error if isinstance(error, dict) else {}
    raise stripe_error(
        str(error.get("message", "")),
        status=response.status,
        stripe_code=str(error.get("code") or error.get("type") or ""),
        param=str(error.get("param") or ""),
        request_id=request_id,
        retry_now=_retry_now(response),
        retry_after_seconds=_retry_after(response),
        replayed=_replayed(response),
    )


def _retry_now(response: aiohttp.ClientResponse) -> bool:
    should_retry = response.headers.get("Stripe-Should-Retry")
    if should_retry in ("true", "false"):
        return should_retry == "true"
    if _replayed(response):
        return False
    return response.status in (409, 429) or response.status >= 500


def _retry_after(response: aiohttp.ClientResponse) -> int:
    """Seconds; 0 where the header is missing or no number."""
    value = response.headers.get("Retry-After", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else 0


def _replayed(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Idempotent-Replayed") == "true"

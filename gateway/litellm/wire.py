"""One call to LiteLLM: keys, time and size limits, and the error for each kind of failure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from gateway.errors import UpstreamFailed
from gateway.settings import Secret
from gateway.urls import api_query, api_url

_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=3)
_MAX_BODY_BYTES = 1024 * 1024
_RETRYABLE_STATUSES = frozenset({408, 425, 429})
# LiteLLM 1.106.2 answers 400 or 401 "Authentication Error, Can't reach database server…" while its database is away.
# The one place where the text of an error decides: nothing else in the answer distinguishes an outage from a refusal.
_OUTAGE_STATUSES = frozenset({400, 401})
_OUTAGE_WORDS = ("database", "can't reach", "connector", "no_db_connection")
_MAX_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """LiteLLM's answer: any status, always JSON."""

    status: int
    body: object

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def row(self) -> dict[str, object]:
        """The body as an object; empty where it is null or a list."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def reason(self) -> str:
        """The vendor's words: `{"error": {"message", "type", …}}` or FastAPI's `{"detail": …}`."""
        error = self.row.get("error", self.row.get("detail", self.body))
        if isinstance(error, dict):
            return f"{error.get('message', error)} ({error.get('type', '')})"
        return str(error)


def is_outage(status: int, reason: str) -> bool:
    """Whether the same request may succeed later: the one table of what to retry."""
    if status in _RETRYABLE_STATUSES or status >= 500:
        return True
    return status in _OUTAGE_STATUSES and any(word in reason.lower() for word in _OUTAGE_WORDS)


class Wire:
    """Sends requests with the newest key, and on 401 with the older ones, while a key is being rolled."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, keys: tuple[Secret, ...]) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._keys = keys

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (),
        max_bytes: int = _MAX_BODY_BYTES,
    ) -> Answer:
        """The answer, if its status is 2xx or in `expect`. Raises `UpstreamFailed`, never with a key in it."""
        answer = await self._with_first_accepted_key(method, path, body, query, max_bytes)
        if answer.ok or (answer.status in expect and not is_outage(answer.status, answer.reason)):
            return answer
        raise self.error_from(path, answer)

    async def call_as_app(
        self, method: str, path: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> Answer:
        """The answer to a model call as an app makes it, with any status."""
        return await self._with_first_accepted_key(method, path, body, None, _MAX_BODY_BYTES, headers)

    async def call_without_key(self, path: str) -> Answer:
        """GET without a key; any status but a broken answer."""
        return await self._once("GET", path, None, None, None, _MAX_BODY_BYTES)

    async def _with_first_accepted_key(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str] | None,
        max_bytes: int,
        more_headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """With the first key that LiteLLM accepts."""
        answer = Answer(401, {"error": {"message": "no key is set"}})
        for key in self._keys:
            answer = await self._once(method, path, body, query, key, max_bytes, more_headers)
            if answer.status != 401 or is_outage(401, answer.reason):
                break
        return answer

    async def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str] | None,
        key: Secret | None,
        max_bytes: int,
        more_headers: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {**(more_headers or {}), **({"Authorization": f"Bearer {key.reveal()}"} if key else {})}
        try:
            async with self._session.request(
                method,
                api_url(self._base_url, path, api_query((query or {}).items())),
                json=body,
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as response:
                return await _read(response, path, max_bytes)
        except TimeoutError as exc:
            raise UpstreamFailed("LiteLLM did not answer in time.", detail=path) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamFailed("LiteLLM could not be reached.", detail=f"{path}: {type(exc).__name__}") from exc

    def error_from(self, path: str, answer: Answer) -> UpstreamFailed:
        """The error for this answer."""
        return UpstreamFailed(
            f"LiteLLM answered {answer.status} to {path}.",
            code=None if is_outage(answer.status, answer.reason) else "litellm_refused",
            retryable=is_outage(answer.status, answer.reason),
            status=answer.status,
            detail=self.without_keys(answer.reason)[:_MAX_DETAIL],
        )

    def with_keys(self, keys: tuple[Secret, ...]) -> Wire:
        """The same LiteLLM, called with other keys."""
        return Wire(self._session, self._base_url, keys)

    def without_keys(self, text: str) -> str:
        """A vendor's text with stars in place of our keys and their hashes."""
        for key in self._keys:
            value = key.reveal()
            for trace in (value, hashlib.sha256(value.encode()).hexdigest()):
                text = text.replace(trace, "********")
        return text


async def _read(response: aiohttp.ClientResponse, path: str, max_bytes: int) -> Answer:
    if 300 <= response.status < 400:
        # A sign-in page or another host answers in place of LiteLLM: a retry would get the same.
        raise UpstreamFailed(
            f"LiteLLM's address answers {path} with a redirect.",
            code="litellm_refused",
            retryable=False,
            status=response.status,
        )
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            message = f"LiteLLM's answer is larger than {max_bytes >> 20} MiB."
            raise UpstreamFailed(message, status=response.status, detail=path)
    try:
        body: object = json.loads(data)
    except (ValueError, RecursionError) as exc:
        # A proxy's HTML while LiteLLM restarts, or a truncated body; the status does not matter.
        raise UpstreamFailed(
            "LiteLLM's answer is not JSON.", status=response.status, detail=f"{path}: {len(data)} bytes"
        ) from exc
    return Answer(response.status, body)

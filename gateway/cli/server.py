"""Requests to the running server's /admin; or, while none runs, the store itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from gateway import errors
from gateway.billing.work.transaction import Job, Transaction
from gateway.settings import Settings
from gateway.store import Store

T = TypeVar("T")
_SECONDS = 15.0
_ERROR_OF: dict[int, type[errors.SkpayError]] = {
    400: errors.InvalidInput,
    401: errors.NotAuthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    429: errors.TooMany,
    500: errors.UpstreamFailed,
    502: errors.UpstreamFailed,
    503: errors.StoreUnavailable,
}


class NoServerError(Exception):
    """No server listens on the configured port."""


def ask(settings: Settings, method: str, path: str, body: object = None, *, seconds: float = _SECONDS) -> Any:
    """The running server's answer. Raises `NoServerError`, or the error that the server answered."""
    return asyncio.run(ask_async(settings, method, path, body, seconds=seconds))


async def ask_async(
    settings: Settings, method: str, path: str, body: object = None, *, seconds: float = _SECONDS
) -> Any:
    """The same as `ask` in an event loop."""
    # Encoded already: a user id such as ".." must not be normalised.
    url = URL(f"http://{settings.own_host}:{settings.port}{path}", encoded=True)
    headers = {"Authorization": f"Bearer {settings.admin_token[0].reveal()}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.request(method, url, json=body, headers=headers) as response,
        ):
            answer = await response.json(content_type=None)
            if response.status < 400:
                return answer
            details = answer if isinstance(answer, dict) else {}
            error = _ERROR_OF.get(response.status, errors.SkpayError)
            if details.get("problems"):
                raise errors.ConfigError(details["problems"])
            raise error(str(details.get("message") or f"the server answered {response.status}"))
    except aiohttp.ClientConnectorError as exc:
        raise NoServerError from exc
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise errors.UpstreamFailed(
            f"The server on port {settings.port} did not answer: {type(exc).__name__}."
        ) from exc


def ask_or_write(settings: Settings, method: str, path: str, body: object, job: Job[dict[str, object]]) -> Any:
    """Through the running server, so that there is one writer and its gate is updated; without one, on the store."""
    try:
        return ask(settings, method, path, body)
    except NoServerError:
        return after_no_answer(settings, job)


def after_no_answer(settings: Settings, job: Job[T]) -> T:
    """`alone`, after no server answered at the address of this command's environment."""
    try:
        return alone(settings, job)
    except errors.AlreadyRunning as exc:
        raise _server_elsewhere(settings, exc.holder) from exc


def alone(settings: Settings, job: Job[T]) -> T:
    """Run `job` on the store while no server runs; the instance lock keeps one from starting meanwhile.

    Its wake-ups and updates of the gate have no receiver: the next server reads everything from the store.
    Raises `AlreadyRunning`.
    """
    store = Store.open(settings.database_url)
    try:
        return store.write_now(lambda conn: job(Transaction(conn, int(time.time()))))
    finally:
        store.close_now()


def _server_elsewhere(settings: Settings, where: str) -> errors.ConfigError:
    """A server uses the database, but does not listen at the address of this command's environment."""
    address = f"http://{settings.own_host}:{settings.port}"
    return errors.ConfigError(
        [f"HOST, PORT: a server runs on {where}, but none answers at {address}; give this command its HOST and PORT"]
    )


def server_needed(settings: Settings) -> errors.SkpayError:
    """For commands that need a running server."""
    address = f"http://{settings.own_host}:{settings.port}"
    return errors.UpstreamFailed(f"No server answers at {address}; start it with: skpay serve")

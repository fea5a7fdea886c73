"""Reading request bodies: the right type, a bounded size, a bounded time."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.errors import InvalidInput, TooLarge, TooMany, WrongMediaType

MAX_JSON_BYTES = 64 * 1024
DEADLINE_SECONDS = 5.0
MAX_BODIES_AT_ONCE = 64
"""In each of two pools, so that anonymous uploads cannot starve authenticated ones."""

Model = TypeVar("Model", bound=BaseModel)

_bodies = asyncio.Semaphore(MAX_BODIES_AT_ONCE)
_anonymous_bodies = asyncio.Semaphore(MAX_BODIES_AT_ONCE)


async def read_body(request: web.Request, max_bytes: int, *, anonymous_sender: bool = False) -> bytes:
    """The raw body. Raises `TooLarge` without reading the rest, `InvalidInput` if it is too slow or truncated,
    `TooMany`."""
    if request.content_length is not None and request.content_length > max_bytes:
        raise TooLarge(f"The body may have {max_bytes} bytes at most.")
    if request.content.is_eof():  # it arrived with the head, so nothing waits
        return await _read(request, max_bytes)
    pool = _anonymous_bodies if anonymous_sender else _bodies
    if pool.locked():
        raise TooMany("Too many bodies are being read at once.")
    async with pool:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await _read(request, max_bytes)
        except TimeoutError as exc:
            message = f"The body did not arrive within {DEADLINE_SECONDS:g} seconds."
            raise InvalidInput(message, code="body_too_slow") from exc
        except ConnectionError as exc:  # the client has disconnected: no internal error
            raise InvalidInput("The body ended before its end.", code="body_broken") from exc


async def _read(request: web.Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"The body may have {max_bytes} bytes at most.")
    return bytes(body)


async def read_json(request: web.Request, model: type[Model]) -> Model:
    """The body as `model`. Raises `WrongMediaType`, `TooLarge`, `InvalidInput` naming every wrong field."""
    if request.content_type != "application/json":
        raise WrongMediaType("Send the body as Content-Type: application/json.")
    return parse_json_body(await read_body(request, MAX_JSON_BYTES), model)


def parse_json_body(body: bytes, model: type[Model]) -> Model:
    """A JSON text as `model`. Raises `InvalidInput` naming every wrong field."""
    try:
        document = json.loads(body, parse_constant=_no_constants, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput("The body is not JSON.", code="not_json") from exc
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        # Field and reason only: the value may be a misplaced secret.
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg'].removeprefix('Value error, ')}"
            for each in exc.errors()
        ]
        raise InvalidInput("; ".join(problems), fields={"problems": problems}) from exc


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document

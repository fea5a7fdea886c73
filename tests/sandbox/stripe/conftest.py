"""Runs a sandbox whose every request, answer and event is held against Stripe's schema, and a receiver of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from stripe_openapi import guard
from stripe_stage import KEY, SECRET, Box, Receiver, Start, seed

from gateway.sandbox.stripe import StripeSandbox


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    kept = Receiver()
    application = web.Application()
    application.router.add_post("/hook", kept.handle)
    async with TestServer(application) as server:
        kept.url = str(server.make_url("/hook"))
        yield kept


@pytest.fixture
async def start(receiver: Receiver) -> AsyncIterator[Start]:
    """Starts a sandbox with the given options; at the end all that passed must have fitted the schema."""
    started: list[tuple[Box, TestServer]] = []

    async def begin(**options: Any) -> Box:
        sandbox = StripeSandbox(
            secret_key=KEY,
            webhook_secret=SECRET,
            webhook_url=receiver.url,
            **{"retry_seconds": (0.02, 0.02), **options},
        )
        application = sandbox.application()
        watch = guard(application)
        server = TestServer(application)
        await server.start_server()
        sandbox.public_url = str(server.make_url("")).rstrip("/")
        box = Box(sandbox, sandbox.public_url, ClientSession(), watch, receiver)
        started.append((box, server))
        return box

    yield begin
    for box, server in started:
        await box.http.close()
        await server.close()
        for event in box.sandbox.state.all("event"):
            if event["api_version"].startswith("2026"):
                box.watch.of_event(event)
        assert box.watch.problems == []


@pytest.fixture
async def box(start: Start) -> Box:
    """A seeded sandbox."""
    begun = await start()
    seed(begun.sandbox)
    return begun

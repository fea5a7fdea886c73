"""The world that the use cases are tested in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from servers.world import World, opened_world


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripe's client tries again at once: how long it waits is its own tests' business."""
    monkeypatch.setattr("gateway.stripe.client._FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(tmp_path) as opened:
        yield opened

"""The harness that the use cases are tested in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from servers.harness import Harness, open_harness


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripe's client retries at once; its delays have tests of their own."""
    monkeypatch.setattr("gateway.stripe.transport._FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(tmp_path) as opened:
        yield opened

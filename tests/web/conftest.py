"""One running SKPayments per test; it takes 0.1 s."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from servers.running import Running, running_application


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_application(tmp_path) as application:
        yield application

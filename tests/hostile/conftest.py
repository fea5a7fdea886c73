"""One stage for all the hostile tests: it takes longer to start than they take to run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hostile.hostile_stage import HostileStage, hostile_stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileStage]:
    async with hostile_stage(tmp_path_factory.mktemp("hostile")) as on:
        yield on

"""The stories of the package, told in every order that is feasible, twice over, and in both shapes of events."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.app.rehearsal import Rehearsal, open_rehearsal
from gateway.app.story_player import Player, Telling, can_play
from gateway.catalog import parse
from gateway.sandbox.stories import stories

ORDERS = 12
SHIPPED = parse((Path(__file__).parents[2] / "apps.json").read_bytes())


@pytest.fixture
async def stage() -> AsyncIterator[Rehearsal]:
    async with open_rehearsal(SHIPPED) as opened:
        yield opened


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
async def test_a_story_ends_the_same_in_every_order(stage: Rehearsal, story) -> None:
    app = SHIPPED.apps["skai"]
    assert can_play(app, story)
    async with aiohttp.ClientSession() as session:
        for shape in ("endive", "2024"):
            stage.stripe.shape = shape
            for number in range(ORDERS):
                player = Player(stage, app, Telling(number, copies=1 + number % 2), session)
                await player.play(story)

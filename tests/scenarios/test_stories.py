"""The stories of the package, played in every feasible order, with duplicates, and in both shapes of events."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.catalog import parse
from gateway.sandbox.stories import Story, stories
from gateway.sandbox.stories.delivery_order import DeliveryOrder, can_play
from gateway.sandbox.stories.player import StoryPlayer
from gateway.sandbox.stories.simulation import Simulation, open_simulation
from gateway.sandbox.story_failed import StoryFailedError

# Every order of up to four events, in both shapes, once or twice each; longer chapters are sampled by number.
ORDERS = 24
SHAPES = ("endive", "2024")
SHIPPED = parse((Path(__file__).parents[2] / "apps.json").read_bytes())


@pytest.fixture
async def stage() -> AsyncIterator[Simulation]:
    async with open_simulation(SHIPPED) as opened:
        yield opened


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
async def test_a_story_ends_the_same_in_every_order(stage: Simulation, story: Story) -> None:
    app = SHIPPED.apps["skai"]
    assert can_play(app, story)
    async with aiohttp.ClientSession() as session:
        for number in range(ORDERS):
            stage.stripe.shape = SHAPES[number // 2 % 2]
            await StoryPlayer(stage, app, DeliveryOrder(number, copies=1 + number % 2), session).play(story)


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
async def test_a_story_ends_the_same_where_every_list_inside_an_object_shows_one(
    stage: Simulation, story: Story
) -> None:
    stage.stripe.settings.nested_list_length = 1
    async with aiohttp.ClientSession() as session:
        for number in range(2):
            await StoryPlayer(stage, SHIPPED.apps["skai"], DeliveryOrder(number), session).play(story)


async def test_a_failed_story_is_reported(stage: Simulation) -> None:
    """The player must be able to fail: the same purchase with a wrong expectation of each kind."""
    wrong = Story("a lie", ({"do": "buy", "tier": "paid"}, {"expect": {"tier": "first"}}), frozenset())
    async with aiohttp.ClientSession() as session:
        with pytest.raises(StoryFailedError, match="tier should be 'free', is 'pro'"):
            await StoryPlayer(stage, SHIPPED.apps["skai"], DeliveryOrder(0), session).play(wrong)


def test_every_order_of_few_events_is_played() -> None:
    events = [{"id": name} for name in "abcd"]
    orders = {tuple(event["id"] for event in DeliveryOrder(number).ordered(events)) for number in range(ORDERS + 2)}
    assert len(orders) == ORDERS

"""How a story is played: the order of its events, the tiers that play its parts, and whether an app has them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog.model import App, Tier
from gateway.sandbox.stories import Story

Events = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class DeliveryOrder:
    """How events are delivered: in their `number`-th order, each `copies` times."""

    number: int
    copies: int = 1

    def ordered(self, events: Sequence[dict[str, Any]]) -> Events:
        """`events` in this order: 0 as they came, 1 reversed, then other permutations; long lists are shuffled."""
        if self.number == 0 or len(events) < 2:
            order = list(events)
        elif self.number == 1:
            order = list(reversed(events))
        elif math.factorial(len(events)) <= 720:
            orders = itertools.permutations(events)
            place = (self.number - 1) % math.factorial(len(events))
            order = list(next(itertools.islice(orders, place, None)))
        else:
            order = list(events)
            random.Random(self.number).shuffle(order)  # noqa: S311  (an order to try, no secret)
        return [event for event in order for _ in range(self.copies)]


def tiers_by_part(app: App, turn: int = 0) -> dict[str, Tier]:
    """The parts that the tiers of an app can play; `higher` only if two tiers are for sale.

    Each `turn` takes another pair of the tiers for sale, so that every one of them is bought at some turn.
    """
    sold = [tier for tier in app.tiers if tier.for_sale]
    parts = {"first": app.default_tier, "given": app.tiers[-1]}
    if len(sold) > 1:
        pairs = list(itertools.combinations(sold, 2))
        parts["paid"], parts["higher"] = pairs[turn % len(pairs)]
    elif sold:
        parts["paid"] = sold[0]
    return parts


def can_play(app: App, story: Story) -> bool:
    """Whether the app has what the story needs."""
    parts = tiers_by_part(app)
    has = parts.keys() | ({"holds disputes"} if app.on_dispute == "hold" else set())
    return "paid" in parts and story.needs <= has

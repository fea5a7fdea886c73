"""Law: every parser of unauthenticated bytes takes time in proportion to their length, and at most 1 ms."""

from __future__ import annotations

import random
import re

import pytest
from parsers.untrusted_input import (
    BUDGET_SECONDS,
    PARSERS,
    Parser,
    built,
    patterns,
    random_input,
    seconds,
)

BEST_OF = 9
RANDOM_INPUTS = 200
QUARTER, GROWTH = 4, 2.0
SMALL_SECONDS = 0.0003
"""Below it, a limit that only the full length exceeds would look like growth."""


def worst_patterns(parser: Parser, count: int = 3) -> list[bytes]:
    """The middles that took longest at full length; this one run only selects which are measured precisely."""
    timed = [(seconds(parser, built(parser, middle, parser.max_bytes)), middle) for middle in patterns(parser)]
    return [middle for _, middle in sorted(timed, key=lambda each: each[0], reverse=True)[:count]]


def slow(parser: Parser, data: bytes) -> float | None:
    """The best of several runs if it is over the budget."""
    taken = seconds(parser, data, BEST_OF)
    return taken if taken > BUDGET_SECONDS else None


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_no_input_takes_more_than_a_millisecond_or_more_than_its_length(parser: Parser) -> None:
    for middle in worst_patterns(parser):
        whole = built(parser, middle, parser.max_bytes)
        taken = seconds(parser, whole, BEST_OF)
        assert taken <= BUDGET_SECONDS, (taken, middle[:40], len(whole))
        if taken > SMALL_SECONDS:
            quarter = seconds(parser, built(parser, middle, parser.max_bytes // QUARTER), BEST_OF)
            assert taken <= quarter * QUARTER * GROWTH, (taken, quarter, middle[:40])


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_no_random_input_takes_more_than_a_millisecond(parser: Parser) -> None:
    rng = random.Random(parser.name)  # noqa: S311  # the same inputs each time
    for _ in range(RANDOM_INPUTS):
        data = random_input(parser, rng)
        if seconds(parser, data) > BUDGET_SECONDS:
            assert slow(parser, data) is None, data[:200]


def test_a_quadratic_parser_is_detected() -> None:
    quadratic = Parser("spaces", re.compile(rb" +(?=/|$)").search, (b" ", b"a"), 8192)
    taken = [seconds(quadratic, built(quadratic, middle, 8192), 3) for middle in patterns(quadratic)]
    assert max(taken) > 10 * BUDGET_SECONDS

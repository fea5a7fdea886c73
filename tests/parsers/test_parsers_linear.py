"""Law: every parser of unauthenticated bytes takes time in proportion to their length, and at most 1 ms."""

from __future__ import annotations

import random
import re
import time

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
MEASUREMENTS = 5
RANDOM_INPUTS = 200
QUARTER, GROWTH = 4, 2.0
LOOP_SECONDS = 0.00019
"""Of `slowness` on the machine on which BUDGET_SECONDS was set, nothing else running."""
SMALL_SECONDS = 0.0003
"""What a call may take whatever its length: the cost of fresh memory pages and of limits that only the full length
exceeds would look like growth."""


def worst_patterns(parser: Parser, count: int = 3) -> list[bytes]:
    """The middles that took longest at full length; this one run only selects which are measured precisely."""
    timed = [(seconds(parser, built(parser, middle, parser.max_bytes)), middle) for middle in patterns(parser)]
    return [middle for _, middle in sorted(timed, key=lambda each: each[0], reverse=True)[:count]]


def slowness() -> float:
    """How much longer than on the machine of `LOOP_SECONDS` a fixed loop takes now, at least 1: a core that is shared
    with other machines runs everything slower, for seconds at a time."""
    best = float("inf")
    for _ in range(BEST_OF):
        started = time.process_time_ns()
        for _ in range(10_000):
            pass
        best = min(best, (time.process_time_ns() - started) / 1e9)
    return max(1.0, best / LOOP_SECONDS)


def excess(parser: Parser, data: bytes, shorter: bytes | None = None) -> str:
    """What is wrong with the time of `data`, '' if nothing.

    Other load only adds time, so one good measurement of several settles it.
    """
    found = ""
    for _ in range(MEASUREMENTS):
        budget = BUDGET_SECONDS * slowness()
        taken = seconds(parser, data, BEST_OF)
        quarter = seconds(parser, shorter, BEST_OF) if shorter is not None and taken > SMALL_SECONDS else taken
        if taken > budget:
            found = f"{taken:.6f} s of {budget:.6f} s for {len(data)} bytes"
        elif taken > quarter * QUARTER * GROWTH + SMALL_SECONDS:
            found = f"{taken:.6f} s for {len(data)} bytes, {quarter:.6f} s for a quarter of them"
        else:
            return ""
    return f"{found}: {data[:200]!r}"


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_no_input_takes_more_than_a_millisecond_or_more_than_its_length(parser: Parser) -> None:
    for middle in worst_patterns(parser):
        whole = built(parser, middle, parser.max_bytes)
        assert not excess(parser, whole, built(parser, middle, parser.max_bytes // QUARTER))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_no_random_input_takes_more_than_a_millisecond(parser: Parser) -> None:
    rng = random.Random(parser.name)  # noqa: S311  # the same inputs each time
    for _ in range(RANDOM_INPUTS):
        data = random_input(parser, rng)
        if seconds(parser, data) > BUDGET_SECONDS:
            assert not excess(parser, data)


@pytest.mark.parametrize("budget_seconds", [BUDGET_SECONDS, 60.0])
def test_a_quadratic_parser_is_detected(budget_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the large budget only its growth shows.
    monkeypatch.setitem(globals(), "BUDGET_SECONDS", budget_seconds)
    quadratic = Parser("spaces", re.compile(rb" +(?=/|$)").search, (b" ", b"a"), 1024)
    assert excess(quadratic, b" " * 1023 + b"a", b" " * 255 + b"a")

"""Time of each parser of unauthenticated bytes for the slowest of a million random inputs.

    bench/parsers.py [--inputs 1000000] [--only NAME]

Microseconds of processor time. Every input that seemed slow is measured again, and the best of nine runs counts: what
else the machine does at the same time only adds to a run.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

# Replaces this folder, where this file would hide tests/parsers.
sys.path[0] = str(Path(__file__).parents[1] / "tests")

from parsers.untrusted_input import PARSERS, Parser, built, patterns, random_input, seconds  # noqa: E402

SLOWEST = 40
BEST_OF = 9


def slowest(parser: Parser, inputs: int) -> tuple[float, bytes]:
    """Seconds and input of the slowest, of `inputs` random ones and every pattern that has found quadratic work."""
    rng = random.Random(parser.name)  # noqa: S311  # the same inputs each time
    kept: list[tuple[float, bytes]] = []
    for data in [built(parser, middle, parser.max_bytes) for middle in patterns(parser)]:
        kept.append((seconds(parser, data), data))
    for _ in range(inputs):
        data = random_input(parser, rng)
        kept.append((seconds(parser, data), data))
        if len(kept) > 50 * SLOWEST:
            kept = sorted(kept, reverse=True)[:SLOWEST]
    second = [(seconds(parser, data, BEST_OF), data) for _, data in sorted(kept, reverse=True)[:SLOWEST]]
    return max(second)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--inputs", type=int, default=20_000, help="random inputs for each parser")
    arguments.add_argument("--only", default="", help="parsers with this in their name")
    chosen = arguments.parse_args()
    print(f"slowest of {chosen.inputs} random inputs, µs of processor time")
    for parser in PARSERS:
        if chosen.only in parser.name:
            taken, data = slowest(parser, chosen.inputs)
            print(f"{parser.name:40}{taken * 1e6:8.0f}   {len(data):6} bytes  {data[:40]!r}", flush=True)


if __name__ == "__main__":
    main()

"""Compares the gate's request cache with the full parser over mutated requests.

    bench/request_cache.py [--requests 500000] [--seed 1]

Prints every request with different answers; exit 1 if there is any.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

# Replaces this folder, whose gate.py would hide tests/gate.
sys.path[0] = str(Path(__file__).parents[1] / "tests")

from access.access_samples import APP, with_app  # noqa: E402  # after the path
from gate.gate_stage import stage  # noqa: E402
from gate.mutated_requests import differences  # noqa: E402


async def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--requests", type=int, default=50_000)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    found = 0
    async with stage(APP, with_app(app_id="blog", hosts=("blog.example.com",))) as on:
        for request, cached, read in differences(on, chosen.requests, chosen.seed):
            found += 1
            print(f"{request!r}\n  cached: {cached!r}\n  parsed: {read!r}")
    print(f"{chosen.requests} mutated requests, {found} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

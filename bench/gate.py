"""The gate's cost, each figure as a ratio to another one of the same run.

    python bench/gate.py [--only alone,traefik] [--seconds 3] [--rounds 3]

Needs two idle cores, nginx and wrk (Debian: nginx-light, wrk) and the Traefik of `make demo`. A ratio
means something only within one run on a quiet machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from parts.gate_alone import alone, cold, users
from parts.gate_service import junk, visible, webhooks
from parts.gate_traefik import plugin, traefik
from parts.tables import Report, machine

SECTIONS = {section.__name__: section for section in (alone, traefik, plugin, users, cold, webhooks, junk, visible)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of these sections (default: all)")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; medians are printed")
    parser.add_argument("--folder", type=Path, default=Path(), help="on a real disk; a new folder is made in it")
    options = parser.parse_args()
    report = Report()
    print(machine())
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            SECTIONS[name](report, Path(folder).absolute(), options.rounds, options.seconds)
    print(report.verdict())


if __name__ == "__main__":
    main()

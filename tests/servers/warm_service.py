"""Runs `python -m gateway serve` repeatedly, each time in a forked process, with the imports done once.

Run as a program; an argument names a guarantee to break, see `broken_service`. Each line on standard input starts one;
answered with `started PID`, and when it ended with `ended STATUS` (negative: the signal). The environment is this
program's; the service's log goes to standard error.
"""

from __future__ import annotations

import os
import sys

import gateway.cli.serve  # noqa: F401  # `main` imports a command's module when it runs it; here it is done once
from gateway.cli import main


def _serve() -> None:
    """What the child does for the rest of its life."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    sys.argv = ["skpay", "serve"]
    main()


def _start_on_request() -> None:
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            _serve()
        print(f"started {child}", flush=True)  # noqa: T201  # this is how the caller learns of it
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)  # noqa: T201  # likewise


if __name__ == "__main__":
    for promise in sys.argv[1:]:
        from broken_service import BREAKAGES

        BREAKAGES[promise]()
    _start_on_request()

"""The `skpay` command, one file for each noun. Exit: 0 done, 1 a check failed, 2 wrong input, 3 try later, 70 internal
error."""

from __future__ import annotations

import io
import os
import sys
import traceback

import click

import gateway
from gateway import errors
from gateway.cli.commands import SECTIONS, TableGroup
from gateway.cli.output import complain

EXIT: dict[type[errors.SkpayError], int] = {
    errors.UpstreamFailed: 3,
    errors.StoreUnavailable: 3,
    errors.TooMany: 3,
    errors.SkpayError: 2,
}
EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_BUG = 130, 1, 70  # a closed pipe: click's own code

skpay = click.version_option(gateway.__version__, prog_name="skpay")(
    TableGroup(
        "skpay",
        sections=SECTIONS,
        help="Stripe subscriptions as tiers for self-hosted apps.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)


def exit_code(error: errors.SkpayError) -> int:
    """The exit code of the nearest class in the table; 2 for what a vendor refused and would refuse on a retry."""
    if isinstance(error, errors.UpstreamFailed) and not error.retryable:
        return EXIT[errors.SkpayError]
    return next(EXIT[cls] for cls in type(error).__mro__ if cls in EXIT)


def main() -> None:
    """Run `skpay`. Prints expected errors as lines, internal errors with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # On a terminal that cannot show a ✓ or a name, print its escape instead of failing.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    try:
        # Outside its standalone mode click returns the argument of `Context.exit` instead of raising it.
        code = skpay(prog_name="skpay", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as exc:
        exc.show()
        return 2
    except errors.ConfigError as exc:
        complain(*exc.problems)
        return exit_code(exc)
    except errors.SkpayError as exc:
        complain(f"{exc.message}{f' ({exc.detail})' if exc.detail else ''}")
        return exit_code(exc)
    except BrokenPipeError:
        # The reader closed the pipe; Python must not complain while it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except OSError as exc:
        complain(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
        return 2
    except Exception:
        complain("internal error, please report it:")
        traceback.print_exc()
        return EXIT_BUG

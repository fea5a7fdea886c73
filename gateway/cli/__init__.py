"""The `skpay` command, one file for each noun. Exit: 0 done, 1 a check failed, 2 wrong input, 3 try later, 70 a bug."""

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
EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_BUG = 130, 1, 70  # a closed pipe as click itself tells it

skpay = click.version_option(gateway.__version__, prog_name="skpay")(
    TableGroup(
        "skpay",
        sections=SECTIONS,
        help="Stripe subscriptions as tiers for self-hosted apps.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)


def exit_code(error: errors.SkpayError) -> int:
    """The exit code of the nearest class in the table; what a vendor refused for good is no reason to try later."""
    if isinstance(error, errors.UpstreamFailed) and not error.retryable:
        return EXIT[errors.SkpayError]
    return next(EXIT[cls] for cls in type(error).__mro__ if cls in EXIT)


def main() -> None:
    """Run `skpay`; an error of ours is told in a line or more, a bug with its traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a ✓ or a name gets its number, and the command does its work.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    try:
        # Outside of its standalone mode click returns what `Context.exit` was given, instead of raising it.
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
        # Whoever read our output has seen enough; Python must not complain while it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except OSError as exc:
        complain(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
        return 2
    except Exception:
        complain("internal error, please report it:")
        traceback.print_exc()
        return EXIT_BUG

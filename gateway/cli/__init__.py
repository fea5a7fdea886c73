"""The `skpay` command, one file for each noun. Exit: 0 done, 1 a check failed, 2 wrong input, 3 try later, 70 a bug."""

from __future__ import annotations

import os
import sys
import traceback

import click

import gateway
from gateway import errors
from gateway.cli import (
    account,
    adopt,
    alerts,
    backup,
    check,
    doctor,
    events,
    forget,
    gate,
    init,
    keys,
    limits,
    notices,
    portal,
    reconcile,
    routes,
    schema,
    selftest,
    serve,
    tunnel,
    users,
)
from gateway.cli import demo as demo_command
from gateway.cli.output import complain

EXIT: dict[type[errors.SkpayError], int] = {
    errors.UpstreamFailed: 3,
    errors.StoreUnavailable: 3,
    errors.TooMany: 3,
    errors.SkpayError: 2,
}
EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_BUG = 130, 1, 70  # a closed pipe as click itself tells it


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gateway.__version__, prog_name="skpay")
def skpay() -> None:
    """Stripe subscriptions as tiers for self-hosted apps."""


for command in (
    init.init,
    serve.serve,
    demo_command.demo,
    check.check,
    selftest.selftest,
    routes.routes,
    tunnel.tunnel,
    schema.schema,
    keys.keys,
    limits.limits,
    users.status,
    users.explain,
    users.grant,
    users.revoke,
    users.refresh,
    gate.gate,
    forget.users,
    account.account,
    adopt.adopt,
    backup.backup,
    backup.restore,
    events.events,
    alerts.alerts,
    alerts.retry,
    reconcile.reconcile,
    notices.notices,
    portal.portal,
    doctor.doctor,
):
    skpay.add_command(command)


def exit_code(error: errors.SkpayError) -> int:
    """The exit code of the nearest class in the table."""
    return next(EXIT[cls] for cls in type(error).__mro__ if cls in EXIT)


def main() -> None:
    """Run `skpay`; an error of ours is told in a line or more, a bug with its traceback."""
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
        complain("skpay met a bug of its own:")
        traceback.print_exc()
        return EXIT_BUG

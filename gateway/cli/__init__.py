"""The `skpay` command, one file for each noun. Exit: 0 done, 1 a check failed, 2 wrong input, 3 try later, 70 a bug."""

from __future__ import annotations

import sys

import click

import gateway
from gateway import errors
from gateway.cli import alerts, check, doctor, events, keys, routes, schema, serve, users
from gateway.cli import demo as demo_command
from gateway.cli.output import complain

EXIT: dict[type[errors.SkpayError], int] = {
    errors.UpstreamFailed: 3,
    errors.StoreUnavailable: 3,
    errors.TooMany: 3,
    errors.SkpayError: 2,
}
EXIT_BUG = 70


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gateway.__version__, prog_name="skpay")
def skpay() -> None:
    """Stripe subscriptions as tiers for self-hosted apps."""


for command in (
    serve.serve,
    demo_command.demo,
    check.check,
    routes.routes,
    schema.schema,
    keys.keys,
    users.status,
    users.explain,
    users.grant,
    users.revoke,
    users.refresh,
    events.events,
    alerts.alerts,
    alerts.retry,
    doctor.doctor,
):
    skpay.add_command(command)


def exit_code(error: errors.SkpayError) -> int:
    """The exit code of the nearest class in the table."""
    return next(EXIT[cls] for cls in type(error).__mro__ if cls in EXIT)


def main() -> None:
    """Run `skpay`; an error of ours is told in a line or more, a bug with its traceback."""
    try:
        skpay(standalone_mode=False)
    except click.exceptions.Exit as exc:
        sys.exit(exc.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(2)
    except errors.ConfigError as exc:
        complain(*exc.problems)
        sys.exit(exit_code(exc))
    except errors.SkpayError as exc:
        complain(f"{exc.message}{f' ({exc.detail})' if exc.detail else ''}")
        sys.exit(exit_code(exc))
    except Exception:
        complain("skpay met a bug of its own:")
        import traceback

        traceback.print_exc()
        sys.exit(EXIT_BUG)

"""`skpay check`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.app.secret_values import ambiguous_secrets
from gateway.catalog.advice import advice
from gateway.cli.configuration import configuration
from gateway.cli.output import good, warn
from gateway.errors import ConfigError, StoreUnavailable
from gateway.setting_rules import database_problem
from gateway.settings import database_url_of
from gateway.store.engine.check import check_database

_COMPOSE_FILE = "docker-compose.yml"


@click.command()
def check() -> None:
    """Check the environment, apps.json and the database as serve does, without starting.

    Changes nothing; a server may run meanwhile. Prints every problem at once; what is allowed but probably a mistake
    is a warning (!).
    """
    problems: list[str] = []
    away: StoreUnavailable | None = None
    try:
        found, catalog = configuration()
    except ConfigError as exc:
        problems += exc.problems
    try:
        _check_database()
    except ConfigError as exc:
        problems += exc.problems
    except StoreUnavailable as exc:
        away = exc
    if problems:
        raise ConfigError([*problems, *([away.message] if away else []), *_outside_the_container()])
    if away:
        raise away
    for path, ref in ambiguous_secrets(catalog, os.environ):
        warn(
            f"{found.apps_file}: {path}: the value of {ref} has a comma, or blanks or a line break at an end, so it "
            "can be read in two ways: as one secret, as the app takes it, and as new,old. Both are accepted. If it is "
            "not being rolled, use a secret of letters and digits"
        )
    for line in advice(catalog):
        warn(f"{found.apps_file}: {line}")
    tiers = sum(len(app.tiers) for app in catalog.apps.values())
    good(f"{found.apps_file}: {len(catalog.apps)} app(s), {tiers} tier(s); the environment is complete")


def _outside_the_container() -> list[str]:
    if "STRIPE_SECRET_KEY" in os.environ or "STRIPE_SECRET_KEY_FILE" in os.environ or not Path(_COMPOSE_FILE).exists():
        return []
    return [f"the settings are those of {_COMPOSE_FILE}: docker compose run --rm skpayments python -m gateway check"]


def _check_database() -> None:
    url = database_url_of(os.environ)
    if not database_problem(url):  # else it is among the problems of the settings
        check_database(url)

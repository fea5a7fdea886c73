"""The settings of a command, read from its environment."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.catalog import parse
from gateway.catalog.model import Catalog
from gateway.errors import ConfigError
from gateway.setting_rules import public_url_problem
from gateway.settings import Settings, read_settings

apps_option = click.option(
    "--apps",
    "apps_file",
    envvar="APPS_FILE",
    default="apps.json",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The apps.json to read.",
)
public_url_option = click.option(
    "--public-url", envvar="PUBLIC_URL", default="", help="The address at which browsers and Stripe reach this service."
)


def settings() -> Settings:
    """The settings, from the environment. Raises `ConfigError`."""
    return read_settings(os.environ)


def catalog_of(apps_file: Path) -> Catalog:
    """The catalog without the secrets it names. Raises `ConfigError`."""
    try:
        raw = apps_file.read_bytes()
    except OSError as exc:
        raise ConfigError([f"{apps_file}: cannot be read: {exc.strerror}"]) from exc
    return parse(raw, str(apps_file))


def public_url_of(public_url: str) -> str:
    """Raises `ConfigError` if it is not set, or if browsers and Stripe cannot reach it."""
    if not public_url:
        raise ConfigError(["PUBLIC_URL: not set; set it, or give --public-url https://pay.example.com"])
    problem = public_url_problem(public_url)
    if problem:
        raise ConfigError([f"PUBLIC_URL: {problem}"])
    return public_url.rstrip("/")

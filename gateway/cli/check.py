"""`skpay check`."""

from __future__ import annotations

import os

import click

from gateway.app.catalog_file import CatalogFile
from gateway.cli.environment import settings
from gateway.cli.output import good
from gateway.routing import plan


@click.command()
def check() -> None:
    """Check the environment and apps.json as serve would, and start nothing."""
    found = settings()
    catalog, _ = CatalogFile(found, os.environ).read()
    plan(catalog, found.public_url)
    tiers = sum(len(app.tiers) for app in catalog.apps.values())
    good(f"{found.apps_file}: {len(catalog.apps)} app(s), {tiers} tier(s); the environment is complete")

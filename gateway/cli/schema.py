"""`skpay schema write`: the JSON Schema of apps.json."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.catalog import json_schema_text
from gateway.cli.output import good
from gateway.files import write_atomically


@click.command()
def show() -> None:
    """Print it."""
    click.echo(json_schema_text(), nl=False)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default="apps.schema.json")
def write(file: Path) -> None:
    """Write it to FILE, atomically."""
    write_atomically(file, json_schema_text())
    good(f"{file} written")

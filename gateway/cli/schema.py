"""`skpay schema`."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.catalog import json_schema_text
from gateway.files import write_atomically


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Write here instead of printing.")
def schema(out: Path | None) -> None:
    """The JSON Schema of apps.json, for your editor."""
    if out is None:
        click.echo(json_schema_text(), nl=False)
    else:
        write_atomically(out, json_schema_text())

"""`skpay routes`."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from gateway.cli.environment import apps_option, catalog_of, public_url_of, public_url_option
from gateway.cli.output import bad, good, out
from gateway.errors import ConfigError
from gateway.files import write_atomically
from gateway.routing import cloudflared, compose_fragment, plan, traefik_file

out_option = click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("traefik"),
    show_default=True,
    help="The folder that holds the generated files.",
)


@click.group()
def routes() -> None:
    """Traefik, Docker and tunnel configuration, generated from apps.json."""


def _rendered(apps_file: Path, public_url: str) -> dict[Path, str]:
    """Every generated file, by its place under the output folder."""
    planned = plan(catalog_of(apps_file), public_url_of(public_url))
    apps = {router.app_id for router in planned.routers if router.app_id is not None}
    return {
        Path("dynamic/skpayments.yml"): traefik_file(planned),
        Path("cloudflared/config.yml"): cloudflared(planned),
        Path("labels/skpayments.yml"): compose_fragment(planned, None),
        **{Path(f"labels/{app_id}.yml"): compose_fragment(planned, app_id) for app_id in sorted(apps)},
    }


@routes.command()
@apps_option
@public_url_option
@out_option
def write(apps_file: Path, public_url: str, folder: Path) -> None:
    """Write every file whose text changed; each appears whole or not at all."""
    for name, text in _rendered(apps_file, public_url).items():
        path = folder / name
        if _read(path) == text:
            good(f"{path} is up to date")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
        good(f"{path} written")


@routes.command()
@apps_option
@public_url_option
@out_option
@click.pass_context
def check(context: click.Context, apps_file: Path, public_url: str, folder: Path) -> None:
    """Exit 1 if a file is missing or out of date, and show what differs."""
    stale = 0
    for name, text in _rendered(apps_file, public_url).items():
        path = folder / name
        found = _read(path)
        if found == text:
            good(f"{path} is up to date")
            continue
        stale += 1
        bad(f"{path} is {'missing' if found is None else 'out of date'}; run: skpay routes write")
        for line in difflib.unified_diff((found or "").splitlines(), text.splitlines(), "is", "should be", lineterm=""):
            out.print(line, markup=False, style={"+": "green", "-": "red"}.get(line[:1]))
    if stale:
        context.exit(1)


@routes.command()
@apps_option
@public_url_option
@click.argument("name", required=False)
def show(apps_file: Path, public_url: str, name: str | None) -> None:
    """Print one generated file, or the names of all."""
    files = _rendered(apps_file, public_url)
    if name is None:
        for path in files:
            click.echo(path)
        return
    if Path(name) not in files:
        raise ConfigError([f"there is no generated file {name!r}; run skpay routes show for their names"])
    click.echo(files[Path(name)], nl=False)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{path}: cannot be read: {type(exc).__name__}"]) from exc

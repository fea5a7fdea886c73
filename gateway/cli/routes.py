"""`skpay routes`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import click

from gateway.catalog.model import GateKind
from gateway.cli.environment import apps_option, catalog_of, public_url_of, public_url_option
from gateway.cli.output import bad, good, say
from gateway.errors import ConfigError
from gateway.files import write_atomically
from gateway.routing import FORMATS, HEADER, REDACTED, Plan, default_formats, files_of, plan

# A secret's value; but not the placeholders that we write for it.
_SECRET_LINE = re.compile(r"(?i)((?:x-sk-gate|secret|authorization)[\"']?\s*[:=]\s*)(?!['\"]?(?:\{\{|\$\{|\*))\S.*")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The files that `folder` should have: path → text. `is_default`: no format was named."""

    files: dict[str, str]
    folder: Path
    is_default: bool

    def leftovers(self) -> list[Path]:
        """Files of an earlier `routes write` in the folders of the default formats, such as a removed app's."""
        if not self.is_default:
            return []
        places = [path for name in ("dynamic", "labels", "cloudflared") for path in self.folder.glob(f"{name}/*.yml")]
        return sorted(
            path
            for path in places
            if path.relative_to(self.folder).as_posix() not in self.files and (_read(path) or "").startswith(HEADER)
        )


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of all commands."""
    formats = click.option(
        "--format",
        "formats",
        multiple=True,
        type=click.Choice(FORMATS),
        help="Only this one; may be given again. Left out: what routing.provider needs, and the tunnel's rules.",
    )
    tunnel = click.option(
        "--tunnel-id", type=click.UUID, help="The tunnel's UUID, for the formats that name it: cloudflared, dns."
    )
    gate = click.option(
        "--gate",
        type=click.Choice(get_args(GateKind)),
        help="How Traefik calls the gate, instead of routing.gate.",
    )
    for option in (tunnel, formats, gate, public_url_option, apps_option):
        command = option(command)
    return command


out_option = click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("traefik"),
    show_default=True,
    help="The folder that holds the generated files.",
)


@click.command()
@_options
@out_option
def write(folder: Path, **options: Any) -> None:
    """Write every file whose text changed, each atomically."""
    expected = _expected(folder, **options)
    for name, text in expected.files.items():
        path = folder / name
        if _read(path) == text:
            good(f"{path} is up to date")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
        good(f"{path} written")
    for path in expected.leftovers():
        path.unlink()
        good(f"{path} removed: apps.json does not need it any more")


@click.command()
@_options
@out_option
@click.pass_context
def check(context: click.Context, /, folder: Path, **options: Any) -> None:
    """Check the files; exit 1 if one is missing, out of date or left over."""
    expected = _expected(folder, **options)
    problems = 0
    for name, text in expected.files.items():
        path = folder / name
        found = _read(path)
        if found == text:
            good(f"{path} is up to date")
            continue
        problems += 1
        bad(f"{path} is {'missing' if found is None else 'out of date'}; run: skpay routes write")
    for path in expected.leftovers():
        problems += 1
        bad(f"{path} is left over; run: skpay routes write")
    if problems:
        context.exit(1)


@click.command()
@_options
@out_option
@click.pass_context
def diff(context: click.Context, /, folder: Path, **options: Any) -> None:
    """Show what write would change, line by line, and change nothing; exit 1 if there is anything."""
    expected = _expected(folder, **options)
    lines: list[str] = []
    for name, text in expected.files.items():
        lines += _difference(folder / name, _read(folder / name), text)
    for path in expected.leftovers():
        lines += _difference(path, _read(path), None)
    for line in lines:
        say(_masked(line), {"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))
    if lines:
        context.exit(1)


@click.command()
@_options
@click.argument("name", required=False)
def show(name: str | None, **options: Any) -> None:
    """Print the files of a format, or one of them; without either the names of all files that write writes."""
    expected = _expected(Path(), **options)
    if name is not None and name not in expected.files:
        raise ConfigError([f"there is no generated file {name!r}; run skpay routes show for their names"])
    if name is not None:
        click.echo(expected.files[name], nl=False)
    elif expected.is_default:
        click.echo("\n".join(expected.files))
    else:
        for place, text in expected.files.items():
            heading = f"# {place}\n" if len(expected.files) > 1 else ""
            click.echo(heading + text, nl=False)


def _expected(
    folder: Path,
    apps_file: Path,
    public_url: str,
    gate: GateKind | None,
    formats: tuple[str, ...],
    tunnel_id: UUID | None,
) -> _Wanted:
    tunnel = None if tunnel_id is None else str(tunnel_id)
    planned: Plan = plan(catalog_of(apps_file), public_url_of(public_url), gate)
    names = formats or default_formats(planned.routing.provider)
    files = {place: text for name in names for place, text in files_of(planned, name, tunnel).items()}
    return _Wanted(files, folder, is_default=not formats)


def _difference(path: Path, found: str | None, expected: str | None) -> Iterator[str]:
    """The text of a file; None if it does not exist."""
    before, after = ("/dev/null" if text is None else str(path) for text in (found, expected))
    return difflib.unified_diff((found or "").splitlines(), (expected or "").splitlines(), before, after, lineterm="")


def _masked(line: str) -> str:
    """The line with a secret redacted that was put into a file by hand (T41)."""
    line = _SECRET_LINE.sub(rf"\1{REDACTED}", line)
    for secret in os.environ.get("GATE_SECRET", "").split(","):
        if secret:
            line = line.replace(secret, REDACTED)
    return line


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{path}: cannot be read: {type(exc).__name__}"]) from exc

"""Output of the commands: plain when piped, in colour on a terminal, never cut or folded."""

from __future__ import annotations

import json
import os
import time
import unicodedata
from collections.abc import Sequence

import click

from gateway.log import redact

json_option = click.option("--json", "wants_json", is_flag=True, help="Print it as JSON.")
_GAP = "  "


def complain(*lines: str) -> None:
    """Print each line to standard error, as an error, with secrets redacted."""
    for line in lines:
        _echo(f"{click.style('error:', fg='red')} {redact(line)}", err=True)


def say(line: str, colour: str | None = None) -> None:
    _echo(click.style(line, fg=colour) if colour else line)


def good(line: str) -> None:
    _echo(f"{click.style('✓', fg='green')} {line}")


def warn(line: str) -> None:
    _echo(f"{click.style('!', fg='yellow')} {line}")


def skipped(line: str) -> None:
    _echo(f"{click.style('·', dim=True)} {line}")


def bad(line: str) -> None:
    _echo(f"{click.style('✗', fg='red')} {line}")


def _echo(line: str, *, err: bool = False) -> None:
    # https://no-color.org; without it click checks for a terminal.
    click.echo(line, err=err, color=False if os.environ.get("NO_COLOR") else None)


def as_json(value: object) -> None:
    """Print it for another program."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def listing(
    found: object, headings: tuple[str, ...], rows: Sequence[tuple[object, ...]], *, wants_json: bool, empty: str
) -> None:
    """Print `rows` under their headings; with `--json` `found`, which has every field."""
    if wants_json:
        as_json(found)
    else:
        table(headings, rows, empty=empty)


def table(headings: tuple[str, ...], rows: Sequence[tuple[object, ...]], *, empty: str) -> None:
    """Print rows under headings, or the line `empty` if there are none.

    A row is one line of any width: ids must be copyable, and a terminal wraps by itself.
    """
    if not rows:
        say(empty)
        return
    lines = [headings, *(tuple(_one_line(cell) for cell in row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headings))]
    for number, line in enumerate(lines):
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        text = _GAP.join(padded).rstrip()
        _echo(click.style(text, bold=True) if number == 0 else text)


def _one_line(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    """Columns of a terminal: Chinese, Japanese and Korean characters and emoji take two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) != 0 for char in text)


def instant(at: object) -> str:
    """Epoch seconds as date and time, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) if isinstance(at, int) else ""

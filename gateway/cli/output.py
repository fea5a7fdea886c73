"""What the commands print: plain when piped, in colour on a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.log import redact

out = Console(highlight=False, soft_wrap=True)

err = Console(stderr=True, highlight=False, soft_wrap=True)
PIPE_WIDTH = 1000


def complain(*lines: str) -> None:
    """Each line on standard error, as an error; what looks like a secret is not shown there either."""
    for line in lines:
        err.print(f"[red]error:[/] {escape(str(redact(line)))}")


def say(line: str) -> None:
    out.print(escape(line))


def good(line: str) -> None:
    out.print(f"[green]✓[/] {escape(line)}")


def warn(line: str) -> None:
    out.print(f"[yellow]![/] {escape(line)}")


def skipped(line: str) -> None:
    out.print(f"[dim]·[/] {escape(line)}")


def bad(line: str) -> None:
    out.print(f"[red]✗[/] {escape(line)}")


def as_json(value: object) -> None:
    """For a program that reads on."""
    out.print(json.dumps(value, indent=2, ensure_ascii=False), markup=False)


def table(headings: tuple[str, ...], rows: Sequence[tuple[object, ...]], *, empty: str) -> None:
    """Rows under headings, or one line if there are none."""
    if not rows:
        say(empty)
        return
    shown = Table(box=None, pad_edge=False)
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    # Ids are there to be copied: folded where a terminal is narrow, and never cut in a pipe.
    out.print(shown, width=None if out.is_terminal else PIPE_WIDTH)


def instant(at: object) -> str:
    """Epoch seconds as people write them, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) if isinstance(at, int) else ""

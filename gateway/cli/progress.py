"""A progress bar on standard error while a command waits; none without a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


def progress() -> Progress:
    """A context manager; the bar disappears at its end."""
    console = Console(stderr=True)
    console.quiet = not console.is_terminal  # else a disabled bar prints an empty line at its end
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

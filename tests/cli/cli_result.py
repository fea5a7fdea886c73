"""What a run of `skpay` is to a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.cli.commands import SECTIONS, Noun


@dataclass(frozen=True, slots=True)
class CliResult:
    """Its exit code, and what it wrote to standard output and standard error."""

    code: int
    out: str
    err: str


Skpay = Callable[..., Awaitable[CliResult]]


def every_command() -> list[tuple[str, ...]]:
    """Each noun, each noun with a verb, and each verb alone."""
    found: list[tuple[str, ...]] = []
    for entries in SECTIONS.values():
        for name, entry in entries.items():
            found.append((name,))
            found += [(name, verb) for verb in entry.verbs] if isinstance(entry, Noun) else []
    return found

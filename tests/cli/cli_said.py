"""What a run of `skpay` is to a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """Its exit code, and what it wrote to standard output and standard error."""

    code: int
    out: str
    err: str


Skpay = Callable[..., Awaitable[Said]]

"""A finding: the result of one check, and how to fix a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "bad", "not checked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says how to fix it; empty if there is no problem."""

    subject: str
    state: State
    message: str
    remedy: str = ""


def ok(subject: str, message: str) -> Finding:
    return Finding(subject, "ok", message)


def warning(subject: str, message: str, remedy: str) -> Finding:
    """It works, but not as it should; no user is cut off and nothing is given away."""
    return Finding(subject, "warning", message, remedy)


def bad(subject: str, message: str, remedy: str) -> Finding:
    return Finding(subject, "bad", message, remedy)


def not_checked(subject: str, message: str, remedy: str = "") -> Finding:
    """Not checked. `remedy`: how to have it checked."""
    return Finding(subject, "not checked", message, remedy)

"""What doctor says: one answer to one question, and what to type where it is not well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "bad", "not checked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says what to type; empty when all is well."""

    subject: str
    state: State
    message: str
    remedy: str = ""


def ok(subject: str, message: str) -> Finding:
    return Finding(subject, "ok", message)


def warning(subject: str, message: str, remedy: str) -> Finding:
    """It works, but not as it should; nobody is cut off and nothing is given away."""
    return Finding(subject, "warning", message, remedy)


def bad(subject: str, message: str, remedy: str) -> Finding:
    return Finding(subject, "bad", message, remedy)


def not_checked(subject: str, message: str, remedy: str = "") -> Finding:
    """Nothing is known. `remedy`: how to have it asked."""
    return Finding(subject, "not checked", message, remedy)

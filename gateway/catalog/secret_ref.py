"""References to secrets in apps.json. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The location of a secret: `env:NAME` or `file:PATH`; apps.json never contains the secret itself."""

    kind: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """`text` is valid: `SecretText` has checked it."""
        prefix, _, name = text.partition(":")
        return cls("env" if prefix == "env" else "file", name)

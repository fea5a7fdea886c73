"""What every identity kind of an app is once it is ready. Pure."""

from __future__ import annotations

from typing import Protocol

from gateway.access.remembered import Remembered
from gateway.access.who import Ask, Known


class Kind(Protocol):
    """One way to find the user in a request. `memories` hold what it remembers, for the gauges."""

    @property
    def memories(self) -> tuple[Remembered, ...]: ...

    def read(self, credential: bytes, source: str, now: int) -> Known | Ask:
        """Whose credential it is. Raises `NotAuthenticated`; its code says what is wrong."""
        ...

"""Results as Markdown tables, with limits that are met or missed."""

from __future__ import annotations

import os
import platform
import sysconfig
from dataclasses import dataclass, field


@dataclass
class Report:
    """The printed report, and every missed limit."""

    missed: list[str] = field(default_factory=list)

    def section(self, title: str, text: str) -> None:
        print(f"\n## {title}\n\n{text}\n")

    def head(self, *names: str) -> None:
        self._widths = [max(len(name), 9) for name in names]
        self.row(*names)
        print("|" + "|".join("-" * (width + 1) + ":" for width in self._widths) + "|")

    def row(self, *cells: object) -> None:
        texts = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
        line = " | ".join(text.rjust(width) for text, width in zip(texts, self._widths, strict=True))
        print(f"| {line} |", flush=True)

    def mark(self, what: str, value: float, *, least: float | None = None, most: float | None = None) -> str:
        """`value` with its limit, for a cell."""
        kept = (least is None or value >= least) and (most is None or value <= most)
        sign = f">= {least:g}" if least is not None else f"<= {most:g}"
        if not kept:
            self.missed.append(f"{what}: {value:.3g}, the limit is {sign}")
        return f"{value:.2f} {'met' if kept else 'MISSED'} ({sign})"

    def verdict(self) -> str:
        return "\n".join(["", "limits missed:", *self.missed]) if self.missed else "\nevery limit was met"


def machine() -> str:
    """The machine of the measurement; results on a busy one mean nothing."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
        f"{'' if optimised else ' (built without optimisations)'}, load {load:.2f}{' (TOO BUSY)' if load > 0.7 else ''}"
    )

"""Figures as tables in Markdown, and marks that are kept or missed."""

from __future__ import annotations

import os
import platform
import sysconfig
from dataclasses import dataclass, field


@dataclass
class Report:
    """What is printed, and every mark that was missed."""

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
        """`value` beside its mark, for a cell."""
        kept = (least is None or value >= least) and (most is None or value <= most)
        sign = f">= {least:g}" if least is not None else f"<= {most:g}"
        if not kept:
            self.missed.append(f"{what}: {value:.3g}, the mark is {sign}")
        return f"{value:.2f} {'kept' if kept else 'MISSED'} ({sign})"

    def verdict(self) -> str:
        return "\n".join(["", "marks missed:", *self.missed]) if self.missed else "\nevery mark was kept"


def machine() -> str:
    """What the figures were measured on; they mean nothing on a busy machine."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
        f"{'' if optimised else ' (built without optimisations)'}, load {load:.2f}{' (TOO BUSY)' if load > 0.7 else ''}"
    )

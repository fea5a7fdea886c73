"""What a gate process reports of itself, and the sum of all in the main process: metrics and verified sessions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from gateway.app.gate_apps import GateApps
from gateway.errors import InvalidInput
from gateway.metrics import Registry
from gateway.web.models import Figure, FigureChild, GateReport

SILENT_SECONDS = 60.0
"""How long the gauges and sessions of a process that has not reported again still count."""
MAX_PROCESSES = 1000

Verdict = Literal["failing", "fine"]


def verdicts(apps: GateApps, now: int) -> dict[str, Verdict]:
    """App id → whether its sessions verify at this gate; without the apps that nobody has used."""
    found: dict[str, Verdict] = {}
    for app_id, app in apps.access.items():
        sessions = app.identity.sessions
        verdict = "unknown" if sessions is None else sessions.verdict(now)
        if verdict != "unknown":
            found[app_id] = verdict
    return found


class Increments:
    """What the counters and histograms of `registry` gained since the last `take`; gauges as they are."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._before: dict[tuple[str, tuple[str, ...]], tuple[float, ...]] = {}

    def take(self) -> list[Figure]:
        """Only children that are new or changed; every gauge."""
        found = []
        for metric in self._registry.metrics():
            children = []
            for values, child in metric.children():
                numbers = child.numbers()
                before = self._before.get((metric.name, values))
                if metric.kind == "gauge":
                    children.append(FigureChild(values=list(values), numbers=list(numbers)))
                elif numbers != before:
                    self._before[metric.name, values] = numbers
                    gained = [now - then for now, then in zip(numbers, before or (0.0,) * len(numbers), strict=True)]
                    children.append(FigureChild(values=list(values), numbers=gained))
            if children:
                found.append(
                    Figure(
                        name=metric.name, kind=metric.kind, text=metric.text, labels=list(metric.label_names),
                        bounds=list(metric.bounds), children=children,
                    )
                )  # fmt: skip
        return found


@dataclass(slots=True)
class _Process:
    number: int
    reported_at: float
    gauges: dict[str, dict[tuple[str, ...], float]]
    report: GateReport


class GateFigures:
    """The sum in the main process. `monotonic` seconds are given to each call."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._processes: dict[str, _Process] = {}

    def add(self, report: GateReport, monotonic: float) -> None:
        """Count a report once, however often it arrives. Raises `InvalidInput` for figures that cannot be added."""
        self._drop_silent(monotonic)
        known = self._processes.get(report.process)
        if known is None and len(self._processes) >= MAX_PROCESSES:
            raise InvalidInput(f"{MAX_PROCESSES} gate processes report already.")
        if known is not None and report.number <= known.number:
            return
        gauges: dict[str, dict[tuple[str, ...], float]] = {}
        # First the number: a report that fails half way is not added once more.
        self._processes[report.process] = _Process(report.number, monotonic, gauges, report)
        try:
            for figure in report.figures:
                self._add(figure, gauges)
        except ValueError as exc:
            raise InvalidInput(f"figures: {exc}.") from None

    def render(self, monotonic: float) -> str:
        """The figures of this process and of all that report, in Prometheus' text format."""
        self._drop_silent(monotonic)
        more: dict[str, Counter[tuple[str, ...]]] = {}
        for process in self._processes.values():
            for name, children in process.gauges.items():
                more.setdefault(name, Counter()).update(children)
        return self._registry.render(more)

    def sessions(self, app_id: str, monotonic: float) -> set[Verdict]:
        """What the processes say of this app's sessions."""
        self._drop_silent(monotonic)
        return {each.report.sessions[app_id] for each in self._processes.values() if app_id in each.report.sessions}

    def problems(self, monotonic: float) -> dict[str, str]:
        """Name of a gate process → what the operator should know of it."""
        self._drop_silent(monotonic)
        reports = [each.report for each in self._processes.values()]
        return {report.name: "; ".join(report.problems) for report in reports if report.problems}

    def _add(self, figure: Figure, gauges: dict[str, dict[tuple[str, ...], float]]) -> None:
        if figure.kind == "gauge":
            self._registry.gauge(figure.name, figure.text, figure.labels)
            gauges[figure.name] = {tuple(child.values): _one(child.numbers) for child in figure.children}
            return
        if figure.kind == "counter":
            counter = self._registry.counter(figure.name, figure.text, figure.labels)
            for child in figure.children:
                counter.of(*child.values).add(child.numbers)
            return
        histogram = self._registry.histogram(figure.name, figure.text, figure.bounds, figure.labels)
        for child in figure.children:
            histogram.of(*child.values).add(child.numbers)

    def _drop_silent(self, monotonic: float) -> None:
        for name, process in list(self._processes.items()):
            if monotonic - process.reported_at > SILENT_SECONDS:
                del self._processes[name]


def _one(numbers: list[float]) -> float:
    (number,) = numbers
    return number

"""Counters, gauges and histograms in Prometheus' text format 0.0.4.

A metric's children are plain objects: `child.value += 1` on the hot path, without a lock, since only the event loop's
thread writes them. Registering a name twice returns the same metric, so a reload keeps its counts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, Literal, TypeVar

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Value:
    """The child of a counter or gauge: one number."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value

    def numbers(self) -> tuple[float, ...]:
        return (self.value,)

    def add(self, numbers: Sequence[float]) -> None:
        """Add what `numbers` of another child gained. Raises `ValueError` for those of another kind of child."""
        (amount,) = numbers
        self.value += amount


class Observations:
    """The child of a histogram: the number of observations under each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def numbers(self) -> tuple[float, ...]:
        return (*self.counts, self.sum)

    def add(self, numbers: Sequence[float]) -> None:
        """Add what `numbers` of another child gained. Raises `ValueError` for those of other bounds."""
        *counts, total = numbers
        self.counts = [int(mine + more) for mine, more in zip(self.counts, counts, strict=True)]
        self.sum += total


Child = TypeVar("Child", Value, Observations)
Labels = Sequence[tuple[str, str]]
_NOTHING: Mapping[tuple[str, ...], float] = {}
_NO_MORE: Mapping[str, Mapping[tuple[str, ...], float]] = {}


class Metric(Generic[Child]):
    """A named family of children, one for each combination of label values."""

    def __init__(
        self,
        name: str,
        kind: Literal["counter", "gauge", "histogram"],
        text: str,
        labels: Sequence[str],
        new: Callable[[], Child],
    ) -> None:
        if not _NAME.fullmatch(name) or not all(_LABEL.fullmatch(label) for label in labels):
            raise ValueError(f"invalid name of a metric or label: {name} {labels}")
        self.name, self.kind, self.text, self.label_names = name, kind, text, tuple(labels)
        self.bounds: tuple[float, ...] = ()
        self._new: Callable[[], Child] = new
        self._children: dict[tuple[str, ...], Child] = {}

    def of(self, *values: str) -> Child:
        """The child with these label values, created at the first call; keep it on hot paths."""
        if len(values) != len(self.label_names):
            raise ValueError(f"{self.name} has the labels {self.label_names}")
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._new()
        return child

    def forget(self, *values: str) -> None:
        """Remove the child of an object that no longer exists."""
        self._children.pop(values, None)

    def counted(self) -> list[tuple[str, ...]]:
        """The label values of every child that is not at zero."""
        return [values for values, child in self._children.items() if isinstance(child, Value) and child.value]

    def children(self) -> Iterator[tuple[tuple[str, ...], Child]]:
        """Label values and child."""
        yield from self._children.items()

    def lines(self, constant: Labels = (), more: Mapping[tuple[str, ...], float] = _NOTHING) -> Iterator[str]:
        """`constant` labels stand before those of each child. `more` is added to a gauge, by its label values."""
        for absent in more.keys() - self._children.keys():
            self.of(*absent)
        yield f"# HELP {self.name} {_escaped_help(self.text)}"
        yield f"# TYPE {self.name} {self.kind}"
        values: tuple[str, ...]
        for values, child in self.children():
            labels = (*constant, *zip(self.label_names, values, strict=True))
            if isinstance(child, Observations):
                yield from _histogram_lines(self.name, labels, child)
            else:
                yield f"{self.name}{_braces(labels)} {_number(child.value + more.get(values, 0))}"


class Registry:
    """All metrics of a process. `constant` labels are those of each line."""

    def __init__(self, constant: Labels = ()) -> None:
        self._constant = constant
        self._metrics: dict[str, Metric[Value] | Metric[Observations]] = {}
        self._before: list[Callable[[], None]] = []

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Metric[Value]:
        """A counter only grows; its name ends in `_total`."""
        return self._values(name, "counter", text, labels)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Metric[Value]:
        """A gauge goes up and down."""
        return self._values(name, "gauge", text, labels)

    def histogram(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> Metric[Observations]:
        """`bounds` are the upper bounds of its buckets, ascending, without infinity."""
        if list(bounds) != sorted(set(bounds)) or not bounds:
            raise ValueError(f"{name}: bounds must be ascending")
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Metric(name, "histogram", text, labels, lambda: Observations(bounds))
            metric.bounds = tuple(bounds)
        return _same(metric, "histogram", labels)  # type: ignore[return-value]  # the kind determines the type of child

    def before_render(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each rendering, for gauges that are cheaper to compute than to maintain."""
        self._before.append(refresh)

    def render(self, more: Mapping[str, Mapping[tuple[str, ...], float]] = _NO_MORE) -> str:
        """The whole text; every line ends in a line feed. `more`: what is added to gauges, by name and label values."""
        lines = (metric.lines(self._constant, more.get(metric.name, _NOTHING)) for metric in self.metrics())
        return "".join(f"{line}\n" for metric in lines for line in metric)

    def metrics(self) -> list[Metric[Value] | Metric[Observations]]:
        """Every metric, with the present figures."""
        for refresh in self._before:
            refresh()
        return list(self._metrics.values())

    def _values(self, name: str, kind: Literal["counter", "gauge"], text: str, labels: Sequence[str]) -> Metric[Value]:
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Metric(name, kind, text, labels, Value)
        return _same(metric, kind, labels)  # type: ignore[return-value]  # the kind determines the type of child


def _same(
    metric: Metric[Value] | Metric[Observations], kind: str, labels: Sequence[str]
) -> Metric[Value] | Metric[Observations]:
    if metric.kind != kind or metric.label_names != tuple(labels):
        raise ValueError(f"{metric.name} is already a {metric.kind} with the labels {metric.label_names}")
    return metric


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _histogram_lines(name: str, labels: tuple[tuple[str, str], ...], child: Observations) -> Iterator[str]:
    total = 0
    for bound, count in zip((*map(_number, child.bounds), "+Inf"), child.counts, strict=True):
        total += count
        yield f"{name}_bucket{_braces((*labels, ('le', bound)))} {total}"
    yield f"{name}_sum{_braces(labels)} {_number(child.sum)}"
    yield f"{name}_count{_braces(labels)} {total}"

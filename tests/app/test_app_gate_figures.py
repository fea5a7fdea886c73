"""The metrics of gate processes, summed in the main process."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app.gate_figures import MAX_PROCESSES, SILENT_SECONDS, GateFigures, Increments
from gateway.errors import InvalidInput
from gateway.metrics import Registry
from gateway.web.models import Figure, GateReport


class Process:
    """A gate process with a counter, a histogram and a gauge."""

    def __init__(self, name: str) -> None:
        self.name, self.number = name, 0
        self.registry = Registry((("process", name),))
        self.requests = self.registry.counter("skpay_requests_total", "Requests.", ("app",))
        self.seconds = self.registry.histogram("skpay_seconds", "Seconds.", (0.1, 1.0))
        self.connections = self.registry.gauge("skpay_connections", "Open.").of()
        self._increments = Increments(self.registry)

    def report(self, sessions: dict[str, str] | None = None) -> GateReport:
        self.number += 1
        content = {"process": self.name, "number": self.number, "sessions": sessions or {}}
        return GateReport.model_validate({**content, "figures": self._increments.take()})


def samples(text: str) -> dict[str, float]:
    """Name and label values → value, without zeros."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value
    }


def test_a_process_names_itself_on_every_line() -> None:
    one = Process("gate-1")
    one.requests.of("skai").inc()
    assert 'skpay_requests_total{process="gate-1",app="skai"} 1\n' in one.registry.render()
    assert 'skpay_connections{process="gate-1"} 0\n' in one.registry.render()


def test_the_sum_has_what_every_process_counted() -> None:
    ours = Registry()
    ours.counter("skpay_requests_total", "Requests.", ("app",)).of("skai").inc(100)
    figures, one, two = GateFigures(ours), Process("one"), Process("two")
    for process in (one, two):
        process.requests.of("skai").inc(2)
        process.seconds.of().observe(0.05)
        process.connections.set(7)
        figures.add(process.report(), 0)
    one.requests.of("skai").inc()
    one.requests.of("blog").inc()
    one.seconds.of().observe(3)
    one.connections.set(1)
    figures.add(one.report(), 1)
    assert samples(figures.render(1)) == {
        "skpay_requests_total skai": 105, "skpay_requests_total blog": 1, "skpay_connections": 8,
        "skpay_seconds_bucket 0.1": 2, "skpay_seconds_bucket 1": 2, "skpay_seconds_bucket +Inf": 3,
        "skpay_seconds_count": 3, "skpay_seconds_sum": pytest.approx(3.1),
    }  # fmt: skip


def test_only_what_changed_is_reported_once_more() -> None:
    one = Process("one")
    one.requests.of("skai").inc()
    one.requests.of("blog").inc()
    one.report()
    one.requests.of("blog").inc(4)
    counters = [figure for figure in one.report().figures if figure.kind == "counter"]
    assert [(child.values, child.numbers) for child in counters[0].children] == [(["blog"], [4])]


def test_a_repeated_report_counts_once() -> None:
    figures, one = GateFigures(Registry()), Process("one")
    one.requests.of("skai").inc(5)
    report = one.report()
    for _ in range(3):
        figures.add(report, 0)
    assert samples(figures.render(0)) == {"skpay_requests_total skai": 5}


def test_of_a_process_that_is_gone_only_the_counters_stay() -> None:
    figures, one = GateFigures(Registry()), Process("one")
    one.requests.of("skai").inc(5)
    one.connections.set(7)
    figures.add(one.report({"skai": "failing"}), 0)
    assert figures.sessions("skai", SILENT_SECONDS) == {"failing"}
    assert samples(figures.render(SILENT_SECONDS))["skpay_connections"] == 7
    assert samples(figures.render(SILENT_SECONDS + 1)) == {"skpay_requests_total skai": 5}
    assert figures.sessions("skai", SILENT_SECONDS + 1) == set()


def test_after_a_restart_of_the_main_process_only_new_increments_count() -> None:
    one = Process("one")
    one.requests.of("skai").inc(1000)
    GateFigures(Registry()).add(one.report(), 0)
    one.requests.of("skai").inc(3)
    restarted = GateFigures(Registry())
    restarted.add(one.report(), 0)
    assert samples(restarted.render(0)) == {"skpay_requests_total skai": 3}


BAD = [
    {"name": "no name"}, {"labels": ["app", "tier"]}, {"kind": "gauge"},
    {"children": [{"values": ["skai"], "numbers": [1, 2]}]},
    {"children": [{"values": [], "numbers": [1]}]}, {"kind": "histogram"},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD)
def test_figures_that_cannot_be_added_are_refused_and_counted_at_most_once(change: dict[str, object]) -> None:
    ours = Registry()
    ours.counter("skpay_requests_total", "Requests.", ("app",))
    figures = GateFigures(ours)
    good = {
        "name": "skpay_requests_total", "kind": "counter", "text": "Requests.", "labels": ["app"], "bounds": [],
        "children": [{"values": ["skai"], "numbers": [1.0]}],
    }  # fmt: skip
    found = [Figure.model_validate(good), Figure.model_validate({**good, **change})]
    report = GateReport(process="one", number=1, figures=found, sessions={})
    with pytest.raises(InvalidInput):
        figures.add(report, 0)
    figures.add(report, 0)
    assert samples(figures.render(0)) == {"skpay_requests_total skai": 1}


def test_there_is_a_limit_of_processes() -> None:
    figures = GateFigures(Registry())
    for number in range(MAX_PROCESSES):
        figures.add(Process(f"p{number}").report(), 0)
    with pytest.raises(InvalidInput, match="report already"):
        figures.add(Process("one-more").report(), 0)
    figures.add(Process("one-more").report(), SILENT_SECONDS + 1)


def test_problems_are_those_of_the_last_report_of_each_process() -> None:
    figures, one, two = GateFigures(Registry()), Process("one"), Process("two")

    def report(process: Process, *problems: str) -> GateReport:
        return process.report().model_copy(update={"name": f"{process.name} at host", "problems": list(problems)})

    figures.add(report(one, "no change was read", "no space"), 0)
    figures.add(report(two), 0)
    assert figures.problems(0) == {"one at host": "no change was read; no space"}
    figures.add(report(one), 1)
    figures.add(report(two, "no space"), 1)
    assert figures.problems(1) == {"two at host": "no space"}
    assert figures.problems(SILENT_SECONDS + 2) == {}

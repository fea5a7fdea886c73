"""/metrics, as Prometheus' own parser reads it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Registry


def samples(registry: Registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(registry.render())
        for sample in family.samples
    }


def test_counters_and_gauges() -> None:
    registry = Registry()
    requests = registry.counter("skpay_requests_total", "Requests.", ("app", "outcome"))
    requests.of("skai", "allowed").inc()
    requests.of("skai", "allowed").value += 2
    requests.of("blog", "refused").inc(0.5)
    registry.gauge("skpay_lag_seconds", "Lag.").of().set(-1.25)
    assert samples(registry) == {
        ("skpay_requests_total", (("app", "skai"), ("outcome", "allowed"))): 3,
        ("skpay_requests_total", (("app", "blog"), ("outcome", "refused"))): 0.5,
        ("skpay_lag_seconds", ()): -1.25,
    }


@pytest.mark.parametrize("value", ['quote"', "back\\slash", "line\nbreak", "\\n", "Zo\u00eb", "}{,=", ""])
def test_any_label_value_comes_back_as_it_was(value: str) -> None:
    registry = Registry()
    registry.counter("x_total", 'A "help"\\ text\nof two lines.', ("label",)).of(value).inc()
    assert samples(registry) == {("x_total", (("label", value),)): 1}
    (family,) = text_string_to_metric_families(registry.render())
    assert family.documentation == 'A "help"\\ text\nof two lines.'


def test_a_histogram_is_cumulative_and_its_bounds_are_inclusive() -> None:
    registry = Registry()
    seconds = registry.histogram("x_seconds", "Time.", (0.1, 1, 5), ("app",)).of("skai")
    for value in (0.05, 0.1, 0.5, 7):
        seconds.observe(value)
    found = samples(registry)
    buckets = {
        bound: found["x_seconds_bucket", (("app", "skai"), ("le", bound))] for bound in ("0.1", "1", "5", "+Inf")
    }
    assert buckets == {"0.1": 2, "1": 3, "5": 3, "+Inf": 4}
    assert found["x_seconds_count", (("app", "skai"),)] == 4
    assert found["x_seconds_sum", (("app", "skai"),)] == pytest.approx(7.65)


def test_the_same_name_is_the_same_metric() -> None:
    registry = Registry()
    registry.counter("x_total", "X.", ("app",)).of("a").inc()
    registry.counter("x_total", "X.", ("app",)).of("a").inc()
    assert samples(registry) == {("x_total", (("app", "a"),)): 2}
    with pytest.raises(ValueError, match="already"):
        registry.gauge("x_total", "X.", ("app",))
    with pytest.raises(ValueError, match="already"):
        registry.counter("x_total", "X.")


def test_what_prometheus_would_not_read_is_refused() -> None:
    registry = Registry()
    for name, labels in (("a-b", ()), ("1a", ()), ("a", ("b-c",)), ("", ())):
        with pytest.raises(ValueError, match="name"):
            registry.counter(name, "X.", labels)
    with pytest.raises(ValueError, match="ascending"):
        registry.histogram("h", "X.", (2, 1))
    with pytest.raises(ValueError, match="labels"):
        registry.counter("y_total", "Y.", ("app",)).of()


def test_a_forgotten_child_is_gone_and_gauges_are_read_late() -> None:
    registry = Registry()
    users = registry.gauge("users", "Users.", ("app",))
    users.of("gone").set(1)
    users.forget("gone")
    users.forget("gone")
    registry.before_render(lambda: users.of("skai").set(7))
    assert samples(registry) == {("users", (("app", "skai"),)): 7}

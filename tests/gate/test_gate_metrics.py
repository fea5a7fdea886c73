"""/metrics after every outcome of a request, read by Prometheus' own parser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from access.access_samples import APP, NOW, with_app
from gate.gate_stage import ARRIVAL_KEYS, GATE_SECRET, Stage, ask, exchange, head, raw, stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from servers.running import running_application

from gateway import gate
from gateway.access.authentication import CredentialLookup
from gateway.access.authenticator import Authenticator
from gateway.access.header_echo_tokens import make_echo_token

GATE = Path(gate.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
REQUESTS = "skpay_gate_requests_total"
TRIAL = with_app(app_id="trial", hosts=("trial.example.com",), enforce=False)
OUTCOMES = {
    ("skai", "pro", "allowed"): 2, ("skai", "free", "anonymous"): 1, ("skai", "free", "tier_required"): 1,
    ("skai", "", "sign_in_required"): 1, ("skai", "", "upgrade"): 1, ("skai", "", "method_refused"): 1,
    ("skai", "", "wrong_host"): 1, ("skai", "", "bad_request"): 1, ("skai", "", "arrived"): 1,
    ("skai", "", "not_found"): 1, ("skai", "", "identity_unavailable"): 1, ("trial", "free", "would_tier_required"): 1,
    ("trial", "free", "would_sign_in_required"): 1, ("", "", "forbidden"): 1, ("", "", "not_ready"): 1,
    ("", "", "unknown_app"): 1,
}  # fmt: skip
"""(app, tier, outcome) → how often `everything_happens` causes it."""


async def everything_happens(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every possible outcome."""
    arrived = f"/.skpayments/arrived?pass={make_echo_token(ARRIVAL_KEYS[0], 'skai', 'once', NOW)}"
    for _ in range(2):
        await ask(on.port, user="alice")
    for changes in (
        {}, {"uri": "/pro", "user": "bob"}, {"uri": "/pro"}, {"uri": "/.skpayments/upgrade", "user": "bob"},
        {"method": "TRACE"}, {"host": "evil.example"}, {"uri": "pro"}, {"secret": None},
        {"uri": arrived}, {"uri": "/.skpayments/arrived"},
    ):  # fmt: skip
        await ask(on.port, **changes)
    await ask(on.port, "/gate?app=nowhere")
    for user in ("bob", None):
        await ask(on.port, "/gate?app=trial", host="trial.example.com", uri="/pro", user=user)
    with monkeypatch.context() as patched:
        patched.setattr(Authenticator, "authenticate", lambda *_: CredentialLookup("jwt", 0, b"", "authorization"))
        await ask(on.port, user="carol")
    on.gate.ready = False
    await ask(on.port)
    on.gate.ready = True


async def scrape(on: Stage) -> str:
    lines = [("Host", "x"), ("Authorization", f"Bearer {GATE_SECRET}")]
    (answer,) = await exchange(on.port, raw(lines, "/metrics"))
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


def counted(text: str) -> dict[tuple[str, ...], float]:
    (family,) = (each for each in text_string_to_metric_families(text) if each.name == REQUESTS.removesuffix("_total"))
    assert family.type == "counter"
    return {
        tuple(sample.labels[name] for name in ("app", "tier", "outcome")): sample.value
        for sample in family.samples
        if sample.value
    }


async def test_every_outcome_is_counted_once_under_its_app_and_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(APP, TRIAL) as on:
        await everything_happens(on, monkeypatch)
        text = await scrape(on)
        assert counted(text) == OUTCOMES
        (seconds,) = (each for each in text_string_to_metric_families(text) if each.name == "skpay_gate_seconds")
        assert seconds.type == "histogram"
        buckets = [each.value for each in seconds.samples if each.name == "skpay_gate_seconds_bucket"]
        assert buckets == sorted(buckets)
        assert seconds.samples[-1].value == buckets[-1] == sum(OUTCOMES.values())


async def test_the_text_follows_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each family once, HELP and TYPE before its samples, `_total` at the end of counters only."""
    async with stage(APP, TRIAL) as on:
        await everything_happens(on, monkeypatch)
        text = await scrape(on)
    assert text.endswith("\n")
    announced: dict[str, str] = {}
    helped = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped, about = line.split(" ", 3)[2:]
            assert helped not in announced
            assert about.endswith(".")
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name == helped
            assert (kind == "counter") == name.endswith("_total")
            announced[name] = kind
        else:
            sample = re.match(r"[a-z_]+", line)
            assert sample is not None
            name = next(reversed(announced))
            ends = ("_bucket", "_sum", "_count") if announced[name] == "histogram" else ("",)
            assert sample[0] in {name + end for end in ends}, line
    assert len(set(text.splitlines())) == len(text.splitlines())


ODD = st.one_of(st.none(), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))


async def test_no_visitor_can_create_a_label() -> None:
    """For any hosts, paths, methods, users, apps and tags, every label comes from the catalog or the code."""
    async with stage(APP, TRIAL) as on:

        @settings(
            max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(host=ODD, uri=ODD, method=ODD, user=ODD, app=ODD, secret=st.sampled_from([GATE_SECRET, "wrong"]))
        def visit(host: str | None, uri: str | None, method: str | None, user: str | None, app: str | None,
                  secret: str) -> None:  # fmt: skip
            lines = head(
                host=host or "chat.example.com", uri=f"/{uri}", method=method or "GET", user=user, secret=secret,
                more=[("X-SK-Tier", str(user)), ("X-SK-App", str(app))],
            )  # fmt: skip
            headers = {name.encode().title(): value.encode() for name, value in lines}
            on.gate.answer(b"GET", b"/gate?app=" + (app or "skai").encode(), headers)

        visit()
        series = set(on.gate._requests._children)
    assert len(series) > 5
    tiers = {tier.tier_id for tier in APP.tiers} | {""}
    assert series <= {(app, tier, outcome) for app in ("skai", "trial", "") for tier in tiers
                      for _, _, outcome in OUTCOMES}  # fmt: skip


async def test_every_metric_is_documented_with_its_labels_and_its_help(tmp_path: Path) -> None:
    section = (DOCS / "monitoring.md").read_text(encoding="utf-8").split("## Metrics")[1].split("\n#")[0]
    result = re.findall(r"^- `(\w+)(?:\{([\w,]+)\})?`: (.+)$", section, re.MULTILINE)
    async with running_application(tmp_path) as running:
        metrics = running.application.parts.registry._metrics.values()
        served = [(metric.name, ",".join(metric.label_names), metric.text) for metric in metrics]
    assert sorted(result) == sorted(served)


def test_every_outcome_that_the_gate_may_count_is_in_the_table() -> None:
    """By the source: a new outcome needs a line here and in docs/gate.md."""
    counting = re.compile(r"(?:count|(?:app|self)\.counter)\((.+)\)")
    lines = [line for path in GATE.glob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    literals = {text for line in lines for call in counting.findall(line) for text in re.findall(r'"(\w+)"', call)}
    assert len(literals) >= 10
    assert literals <= {outcome for _, _, outcome in OUTCOMES}


def test_every_outcome_is_documented() -> None:
    section = (DOCS / "gate.md").read_text(encoding="utf-8").split("## Outcomes")[1].split("\n#")[0]
    result = [
        name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(result) == sorted({outcome for _, _, outcome in OUTCOMES})

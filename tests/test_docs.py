"""What the documents say is checked against the code."""

import json
import re
from pathlib import Path

import pytest

from gateway.catalog import identity_rules, parse
from gateway.catalog.routing_shape import RoutingShape
from gateway.cli import skpay
from gateway.cli.commands import Noun
from gateway.doctor.stripe import NEEDED, USEFUL
from gateway.routing import FORMATS
from gateway.web.routes import API

ROOT = Path(__file__).parent.parent
SOP = (ROOT / "SOP.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCE = {path: path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py")}
OURS = {path: text for path, text in SOURCE.items() if "sandbox" not in path.parts}

_ALERT = re.compile(
    r'(?:(?:open_alert|alert_refusals|alert_refusals_to_buyer)\(\s*billing,|open_alert\(self\._billing,|Concern\(|_keep_last_tier\([^"]*)'
    r'\s*"([a-z_]+)"'
)
_ERROR = re.compile(r'log\.(?:error|exception)\(\s*"([a-z_]+)"')


def test_every_alert_has_its_paragraph_in_the_sop() -> None:
    kinds = {kind for text in OURS.values() for kind in _ALERT.findall(text)}
    assert len(kinds) >= 11
    assert kinds == set(re.findall(r"^- `([a-z_]+)`: ", SOP.split("### Alerts")[1].split("### Other")[0], re.MULTILINE))


def test_every_error_line_is_explained_in_the_sop() -> None:
    events = {event for text in OURS.values() for event in _ERROR.findall(text)}
    assert len(events) >= 5
    assert [event for event in sorted(events) if f"`{event}`" not in SOP] == []


_TOPICS = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("docs/**/*.md")}


def test_every_command_that_a_document_or_a_message_names_exists() -> None:
    """NOUN VERB as the table of commands has it, so that nobody is told to type what is gone."""
    named: set[tuple[str, str]] = set()
    for text in (SOP, README, *_TOPICS.values()):
        named |= set(re.findall(r"(?:`|^|\s)skpay ([a-z]+)(?: ([a-z]+)\b)?", text, re.MULTILINE))
    for text in OURS.values():
        named |= set(re.findall(r"(?:[:;,`] |[:;,`\"(])skpay ([a-z]+)(?: ([a-z]+)\b)?", text))
    assert len(named) >= 30
    for noun, verb in sorted(named):
        entry = skpay.entries.get(noun)
        assert entry is not None, (noun, verb)
        if isinstance(entry, Noun) and verb:
            assert verb in entry.verbs, (noun, verb)


def test_the_sop_subscribes_to_the_very_events_that_doctor_asks_for() -> None:
    block = re.search(r"```text\n\s*(checkout\.session\.completed.*?)```", SOP, re.DOTALL)
    assert block is not None
    assert sorted(block[1].split()) == sorted({*NEEDED, *USEFUL})


def test_the_readmes_apps_json_is_valid() -> None:
    block = re.search(r"```json\n(\{\n  \"\$schema\".*?)\n```", README, re.DOTALL)
    assert block is not None
    assert [tier.tier_id for tier in parse(block[1].encode()).apps["skai"].tiers] == ["free", "pro"]


@pytest.mark.parametrize("text", re.findall(r"`(\{\"kind\".*?\})`", README))
def test_every_identity_kind_the_readme_shows_is_valid(text: str) -> None:
    block = re.search(r"```json\n(\{\n  \"\$schema\".*?)\n```", README, re.DOTALL)
    assert block is not None
    tree = json.loads(block[1])
    tree["apps"][0]["identity"] = [json.loads(text)]
    assert parse(json.dumps(tree).encode()).apps["skai"].identity[0].kind in text


def test_the_readme_shows_every_identity_kind() -> None:
    assert set(re.findall(r"`\{\"kind\": \"(\w+)\"", README)) == set(identity_rules.REQUIRED)


@pytest.mark.parametrize("route", re.findall(r"^\| `(?:GET|POST) (/[^ `]+)", README, re.MULTILINE))
def test_every_route_the_readme_names_is_served(route: str) -> None:
    served = [re.sub(r"{\w+}", "[^/]+", each.path) for each in API]
    assert any(re.fullmatch(pattern, route) for pattern in served), route


def test_no_document_or_source_names_a_secret_or_a_machine() -> None:
    for path in (*SOURCE, ROOT / "SOP.md", ROOT / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(sk|rk)_live_[A-Za-z0-9]{8}", text), path


def test_the_sop_has_every_key_of_routing_with_its_default() -> None:
    table = SOP.split("## Routing")[1].split("\n\n")[2]
    rows = [row.split(" | ") for row in table.splitlines()[2:]]
    keys = {key for row in rows for key in re.findall(r"`([a-z_]+)`", row[0])}
    assert keys == set(RoutingShape.model_fields)
    defaults = {re.findall(r"`([a-z_]+)`", row[0])[0]: row[1].strip("`") for row in rows if "gate_url" not in row[0]}
    for key, text in defaults.items():
        default = getattr(RoutingShape(), key)
        assert text in (json.dumps(default), default), key


def test_the_sop_names_every_format() -> None:
    row = next(line for line in SOP.splitlines() if line.startswith("| look at or write one form"))
    assert set(re.findall(r"`([a-z-]+)`", row.split("|")[1])) == set(FORMATS)


def test_the_sops_traffic_is_valid() -> None:
    text = SOP.split("### Traffic by tier")[1]
    block = re.search(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert block is not None
    app = {
        "id": "a", "name": "A", "hosts": ["a.example.com"], "identity": [{"kind": "user_key"}],
        "urls": {"success": "https://a.example.com/", "cancel": "https://a.example.com/"}, **json.loads(block[1]),
    }  # fmt: skip
    read = parse(json.dumps({"apps": [app]}).encode()).apps["a"]
    assert read.tier_upstreams == (("pro", "http://open-webui-fast:8080"),)
    assert [tier.traffic.rate.burst for tier in read.tiers if tier.traffic and tier.traffic.rate] == [10, 100]


@pytest.mark.parametrize(("words", "inside"), [("allow these", "Radar: read"), ("add these events", "invoice.paid")])
def test_a_remedy_that_names_a_step_of_the_sop_leads_to_it(words: str, inside: str) -> None:
    source = OURS[ROOT / "gateway/doctor/stripe.py"]
    found = re.search(rf'"[^"\n]*{words}[^"\n]*\(SOP\.md, step (\d)\)"', source)
    assert found is not None
    step = re.search(rf"^{found[1]}\. \*\*.*?(?=^\d\. \*\*)", SOP, re.DOTALL | re.MULTILINE)
    assert step is not None
    assert inside in step[0]

"""The documents are checked against the code and against each other."""

import json
import re
from pathlib import Path

import pytest

from gateway.catalog import parse
from gateway.catalog.identity import KINDS
from gateway.cli import skpay
from gateway.cli.commands import Noun
from gateway.routing import FORMATS
from gateway.stripe.event_types import NEEDED, USEFUL
from gateway.web.openapi import openapi
from gateway.web.routes import API

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}
SOP, README, IDENTITY, ROUTING = (
    DOCUMENTS[name] for name in ("SOP.md", "README.md", "docs/identity.md", "docs/routing.md")
)
SOURCE = {path: path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py")}
OURS = {path: text for path, text in SOURCE.items() if "sandbox" not in path.parts}

ALERTS = SOP.split("### Alerts")[1].split("### Other")[0]
_ALERT = re.compile(
    r'(?:(?:open_alert|alert_refusals|alert_refusals_to_buyer)\(\s*[\w.]*work,|tx\.open_alert\(|Concern\(|_keep_last_tier\([^"]*)'
    r'\s*"([a-z_]+)"'
)
_ERROR = re.compile(r'log\.(?:error|exception)\(\s*"([a-z_]+)"')


def test_every_alert_has_its_paragraph_in_the_sop() -> None:
    kinds = {kind for text in OURS.values() for kind in _ALERT.findall(text)}
    assert len(kinds) >= 11
    assert kinds == set(re.findall(r"^- `([a-z_]+)`: ", ALERTS, re.MULTILINE))


def test_every_alert_and_error_line_of_the_sop_has_a_cause_and_a_fix() -> None:
    paragraphs = [line for line in SOP.split("### Alerts")[1].splitlines() if line.startswith("- `")]
    assert len(paragraphs) >= 30
    for paragraph in paragraphs:
        if "see the alert" not in paragraph:
            assert re.search(r"\*\*Cause:\*\* .+ \*\*Fix:\*\* .+", paragraph), paragraph[:80]


def test_every_error_line_is_explained_in_the_sop() -> None:
    events = {event for text in OURS.values() for event in _ERROR.findall(text)}
    assert len(events) >= 5
    assert [event for event in sorted(events) if f"`{event}`" not in SOP] == []


def test_every_command_that_a_document_or_a_message_names_exists() -> None:
    """NOUN VERB as in the table of commands. The changelog also names former commands."""
    named: set[tuple[str, str]] = set()
    for text in (text for name, text in DOCUMENTS.items() if name != "CHANGELOG.md"):
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


def test_the_smallest_app_of_the_sop_is_valid() -> None:
    block = re.search(r"### Add an app.*?```json\n(.*?)```", SOP, re.DOTALL)
    assert block is not None
    assert list(parse(json.dumps({"apps": [json.loads(block[1])]}).encode()).apps) == ["wiki"]


@pytest.mark.parametrize("text", re.findall(r"`(\{\"kind\".*?\})`", IDENTITY))
def test_every_identity_entry_of_the_documents_is_valid(text: str) -> None:
    block = re.search(r"```json\n(\{\n  \"\$schema\".*?)\n```", README, re.DOTALL)
    assert block is not None
    tree = json.loads(block[1])
    tree["apps"][0]["identity"] = [json.loads(text)]
    assert parse(json.dumps(tree).encode()).apps["skai"].identity[0].kind in text


def test_every_identity_kind_is_documented() -> None:
    assert set(re.findall(r"`\{\"kind\": \"(\w+)\"", IDENTITY)) == set(KINDS)


@pytest.mark.parametrize("route", re.findall(r"^\| `(?:GET|POST) (/[^ `]+)", README, re.MULTILINE))
def test_every_route_the_readme_names_is_served(route: str) -> None:
    served = [re.sub(r"{\w+}", "[^/]+", each.path) for each in API]
    assert any(re.fullmatch(pattern, route) for pattern in served), route


def test_no_document_or_source_names_a_secret_or_a_machine() -> None:
    for name, text in (*SOURCE.items(), *DOCUMENTS.items()):
        assert not re.search(r"\b(sk|rk)_live_[A-Za-z0-9]{8}", text), name
        assert not re.search(r"/home/\w+/|/root/", text), name


def test_every_format_is_documented() -> None:
    table = ROUTING.split("\n## Formats\n")[1].split("\n## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`([a-z-]+)`", row)
    ]
    assert sorted(named) == sorted(FORMATS)


def test_the_traffic_of_the_documents_is_valid() -> None:
    text = ROUTING.split("## Traffic by tier")[1]
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


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links() -> list[tuple[str, str]]:
    return [
        (name, target)
        for name, text in DOCUMENTS.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if "://" not in target and not target.startswith("/")
    ]


@pytest.mark.parametrize(("name", "target"), _links())
def test_every_link_between_documents_leads_somewhere(name: str, target: str) -> None:
    file, _, anchor = target.partition("#")
    path = ((ROOT / name).parent / file).resolve() if file else ROOT / name
    assert path.exists(), f"{name}: {target}"
    if anchor:
        assert anchor in _anchors(path.read_text(encoding="utf-8")), f"{name}: {target}"


def test_every_step_of_the_sop_that_a_message_names_exists() -> None:
    named = {place for text in OURS.values() for place in re.findall(r"\(SOP\.md, ([A-Z][\w ]+)\)", text)}
    assert named <= set(re.findall(r"^#+ (.+)$", SOP, re.MULTILINE))


def test_the_changelog_names_what_was_renamed_as_the_code_does() -> None:
    table = DOCUMENTS["CHANGELOG.md"].split("### Renamed")[1].split("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| ")][1:]
    names = [
        (kind, re.findall(r"`([a-z_]+)`", old), re.findall(r"`([a-z_]+)`", new))
        for kind, old, new in rows
        if kind in ("metric", "alert", "error code", "log event", "OpenAPI operation")
    ]
    assert len(names) >= 8
    document = json.dumps(openapi())
    for kind, old, new in names:
        text = document if kind == "OpenAPI operation" else "\n".join(OURS.values())
        assert [name for name in old if re.search(rf"[\"`]{name}\b", text)] == [], kind
        assert [name for name in new if f'"{name}"' not in text] == [], kind

"""DNS records of our hosts: a missing one is created, an equal one kept, a conflicting one of others reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cloudflare_harness import THEIRS, ZONE_ID, CloudflareHarness, open_place
from hypothesis import given
from hypothesis import strategies as st

from gateway.cloudflare import dns_plan, zone_of
from gateway.errors import UpstreamFailed

TARGET = "c1744f8b.cfargotunnel.com"


def desired(*hosts: str) -> list[dict[str, Any]]:
    return [{"type": "CNAME", "name": host, "content": TARGET, "proxied": True} for host in hosts]


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("chat.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.b.eu.example.com", "eu.example.com"),
        ("eu.example.com", "eu.example.com"),
        ("badexample.com", None),
        ("example.com.evil.net", None),
        ("com", None),
    ],
)
def test_a_host_is_in_the_longest_zone_that_its_name_ends_with(host: str, zone: str | None) -> None:
    assert zone_of(host, ["example.com", "eu.example.com", "example.org"]) == zone


def test_records_are_matched_by_zone_and_name() -> None:
    zones = {"example.com": "z1", "eu.example.com": "z2"}
    there = {
        "z1": [
            {"id": "r1", **desired("chat.example.com")[0]},
            {"id": "r2", "type": "TXT", "name": "pay.example.com", "content": "hello"},
            # At the place of the other zone's host, but in this one.
            {"id": "r3", "type": "A", "name": "x.eu.example.com", "content": "203.0.113.1"},
        ],
        "z2": [{"id": "r4", **desired("Y.eu.Example.com")[0], "content": f"{TARGET.upper()}.", "proxied": False}],
    }  # fmt: skip
    hosts = ("chat.example.com", "pay.example.com", "x.eu.example.com", "y.eu.example.com", "a.example.net")
    found = dns_plan(desired(*hosts), zones, there)
    assert [(change.zone_id, change.record["name"], change.record_id) for change in found.record_changes] == [
        ("z1", "pay.example.com", None),
        ("z2", "x.eu.example.com", None),
        ("z2", "y.eu.example.com", "r4"),
    ]
    assert (found.conflicts, found.hosts_without_zone) == ((), ("a.example.net",))


def test_a_zones_name_servers_do_not_conflict_and_a_delegation_does() -> None:
    zones = {"example.com": "z1"}
    there = {
        "z1": [{"type": "NS", "name": name, "content": "ns.example.net"} for name in ("example.com", "a.example.com")]
    }
    found = dns_plan(desired("example.com", "a.example.com"), zones, there)
    assert [change.record["name"] for change in found.record_changes] == ["example.com"]
    assert found.conflicts == ("a.example.com NS → ns.example.net",)


def test_another_record_beside_ours_conflicts_too() -> None:
    there = {"z1": [*desired("a.example.com"), {"type": "A", "name": "a.example.com", "content": "203.0.113.1"}]}
    found = dns_plan(desired("a.example.com"), {"example.com": "z1"}, there)
    assert (found.record_changes, found.conflicts) == ((), ("a.example.com A → 203.0.113.1",))


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(str),
            "type": st.sampled_from(["A", "CNAME", "TXT", "MX"]),
            "name": st.sampled_from(["a.example.com", "b.example.com", "c.example.com", "A.Example.com"]),
            "content": st.sampled_from([TARGET, "203.0.113.1", "elsewhere.example.net"]),
            "proxied": st.booleans(),
        }
    ),
    max_size=6,
)


@given(RECORDS)
def test_the_plan_is_idempotent_and_never_changes_records_of_others(there: list[dict[str, Any]]) -> None:
    hosts = desired("a.example.com", "b.example.com")
    found = dns_plan(hosts, {"example.com": "z1"}, {"z1": there})
    after = [dict(record) for record in there]
    for change in found.record_changes:
        if change.record_id is None:
            after.append({"id": "new", **change.record})
        else:
            (record,) = [record for record in after if record["id"] == change.record_id]
            assert (record["type"], record["content"]) == ("CNAME", TARGET)
            assert set(change.record) == {"name", "proxied"}
            record["proxied"] = change.record["proxied"]
    second = dns_plan(hosts, {"example.com": "z1"}, {"z1": after})
    assert (second.record_changes, second.conflicts) == ((), found.conflicts)


@pytest.fixture
async def harness() -> AsyncIterator[CloudflareHarness]:
    async with open_place(THEIRS) as opened:
        yield opened


async def test_lists_are_read_to_their_end(harness: CloudflareHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cloudflare.client._RECORDS_PER_PAGE", 7)
    for number in range(60):
        harness.sandbox.zones.add(f"zone{number}", f"zone{number}.example")
    for number in range(30):
        harness.sandbox.zones.create(ZONE_ID, {"type": "A", "name": f"h{number}.example.com", "content": "203.0.113.1"})
    assert len(await harness.client().zones()) == 61
    names = [record["name"] for record in await harness.client().dns_records(ZONE_ID)]
    assert names == [f"h{number}.example.com" for number in range(30)]


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "Zone > DNS > Edit"), (404, "no such zone"), (500, "trouble of its own"), (429, "fewer requests")],
)
async def test_a_failure_is_reported_as_one_of_dns(harness: CloudflareHarness, status: int, message: str) -> None:
    await harness.order(kind="status", status=status)
    with pytest.raises(UpstreamFailed, match=message) as caught:
        await harness.client().dns_records(ZONE_ID)
    assert caught.value.retryable is (status in (429, 500))


async def test_a_refusal_is_reported_with_cloudflares_message(harness: CloudflareHarness) -> None:
    record = desired("a.example.com")[0]
    await harness.client().create_dns_record(ZONE_ID, record)
    with pytest.raises(UpstreamFailed) as caught:
        await harness.client().create_dns_record(ZONE_ID, {**record, "content": "elsewhere.example.net"})
    assert "81053: An A, AAAA, or CNAME record with that host already exists." in caught.value.detail
    with pytest.raises(UpstreamFailed):
        await harness.client().create_dns_record("../zones", record)

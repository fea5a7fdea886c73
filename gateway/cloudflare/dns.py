"""The DNS records that lead the apps' hosts to the tunnel, and the changes that a zone needs for them. Pure.

A host has one CNAME, proxied, to the tunnel. Any other record of its name is reported as a conflict and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
# None of these can exist beside the CNAME: Cloudflare refuses it, or another server answers for the name.
_CONFLICTING_TYPES = ("A", "AAAA", "CNAME", "NS")


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One record to make, or with `record_id` to change."""

    zone_id: str
    record: Record
    record_id: str | None = None

    def __str__(self) -> str:
        if self.record_id is None:
            return f"+{self.record['name']} CNAME → {self.record['content']}"
        return f"+{self.record['name']} CNAME: through Cloudflare (proxied), not past it"


@dataclass(frozen=True, slots=True)
class DnsPlan:
    """`conflicts` describe other records of the hosts' names; `hosts_without_zone` are in no zone that can be read."""

    record_changes: tuple[RecordChange, ...]
    conflicts: tuple[str, ...]
    hosts_without_zone: tuple[str, ...]


def zone_of(host: str, zones: Iterable[str]) -> str | None:
    """The zone of the host's name: the longest that it ends with."""
    return max((zone for zone in zones if f".{host}".endswith(f".{zone}")), key=len, default=None)


def dns_plan(expected: Sequence[Record], zones: Mapping[str, str], records: Mapping[str, Sequence[Record]]) -> DnsPlan:
    """The changes that create `wanted`. `zones`: name → id; `records`: zone id → its records.

    Idempotent: once applied, there are no changes.
    """
    found = {zone_id: _by_name(in_zone) for zone_id, in_zone in records.items()}
    record_changes: list[RecordChange] = []
    conflicts: list[str] = []
    hosts_without_zone: list[str] = []
    for record in expected:
        host = str(record["name"])
        zone = zone_of(host, zones)
        if zone is None:
            hosts_without_zone.append(host)
            continue
        # A zone's own NS records have its name and conflict with nothing.
        there = [each for each in found[zones[zone]].get(host, []) if host != zone or each.get("type") != "NS"]
        ours = [each for each in there if _same_target(each, record)]
        if len(there) > len(ours):
            conflicts += [f"{host} {each.get('type')} → {each.get('content')}" for each in there if each not in ours]
        elif not ours:
            record_changes.append(RecordChange(zones[zone], record))
        elif ours[0].get("proxied") is not True:
            record_changes.append(RecordChange(zones[zone], {"proxied": True, "name": host}, str(ours[0].get("id"))))
    return DnsPlan(tuple(record_changes), tuple(conflicts), tuple(hosts_without_zone))


def _by_name(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.get("type") in _CONFLICTING_TYPES:
            found.setdefault(str(record.get("name")).lower().rstrip("."), []).append(record)
    return found


def _same_target(record: Record, expected: Record) -> bool:
    return record.get("type") == "CNAME" and str(record.get("content")).lower().rstrip(".") == expected["content"]

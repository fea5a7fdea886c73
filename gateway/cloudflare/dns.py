"""The DNS records that lead our hosts to the tunnel, beside everybody else's, and what is missing of them. Pure.

A host has one CNAME, proxied, to the tunnel. Whatever else stands at its name is somebody's: it is told, never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
# Next to our CNAME there can be none of these: Cloudflare refuses it, or somebody else answers for the name.
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
    """`conflicts` describe other records at our hosts' names; `hosts_without_zone` are in no zone that we can read."""

    record_changes: tuple[RecordChange, ...]
    conflicts: tuple[str, ...]
    hosts_without_zone: tuple[str, ...]


def zone_of(host: str, zones: Iterable[str]) -> str | None:
    """The zone in which the host's name is: the longest that it ends with."""
    return max((zone for zone in zones if f".{host}".endswith(f".{zone}")), key=len, default=None)


def dns_plan(wanted: Sequence[Record], zones: Mapping[str, str], records: Mapping[str, Sequence[Record]]) -> DnsPlan:
    """What it takes for `wanted` to be there. `zones` are ids by name, `records` those of each zone id.

    When it is done, doing it again finds nothing to do.
    """
    found = {zone_id: _by_name(in_zone) for zone_id, in_zone in records.items()}
    record_changes: list[RecordChange] = []
    conflicts: list[str] = []
    hosts_without_zone: list[str] = []
    for record in wanted:
        host = str(record["name"])
        zone = zone_of(host, zones)
        if zone is None:
            hosts_without_zone.append(host)
            continue
        # A zone's own name servers stand at its name and are in nobody's way.
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


def _same_target(record: Record, wanted: Record) -> bool:
    return record.get("type") == "CNAME" and str(record.get("content")).lower().rstrip(".") == wanted["content"]

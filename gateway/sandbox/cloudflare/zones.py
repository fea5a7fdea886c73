"""The zones of the sandbox and their DNS records, in the API's format.

From Cloudflare's documents: names are in Punycode, a CNAME excludes A and AAAA, lists come in pages. 81053 and 81057
with their messages are from published logs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from gateway.sandbox.cloudflare.refusal import Refusal

Record = dict[str, Any]
_ADDRESSES = ("A", "AAAA", "CNAME")
_FIELDS = ("type", "name", "content", "proxied", "ttl", "comment")


@dataclass
class Zone:
    zone_id: str
    name: str
    records: list[Record] = field(default_factory=list)


class Zones:
    """`page` gives one page of a list and its number."""

    def __init__(self) -> None:
        self._zones: dict[str, Zone] = {}
        self._numbers = itertools.count(1)

    def add(self, zone_id: str, name: str, *records: Record) -> None:
        """A zone with existing records."""
        zone = self._zones[zone_id] = Zone(zone_id, name)
        zone.records += [self._numbered(zone, record) for record in records]

    def records(self, zone_id: str) -> list[Record]:
        """Type, name, content and proxied of each record."""
        keys = ("type", "name", "content", "proxied")
        return [{key: record.get(key) for key in keys} for record in self._zones[zone_id].records]

    def listed(self) -> list[Record]:
        return [{"id": zone.zone_id, "name": zone.name, "status": "active"} for zone in self._zones.values()]

    def zone(self, zone_id: str) -> Zone:
        try:
            return self._zones[zone_id]
        except KeyError:
            raise Refusal(
                404, 7003, "Could not route to the zone, perhaps your object identifier is invalid?"
            ) from None

    def create(self, zone_id: str, record: Record) -> Record:
        zone = self.zone(zone_id)
        if not isinstance(record.get("name"), str) or not isinstance(record.get("content"), str):
            raise Refusal(400, 9005, "Content for the record is invalid")
        if not f".{record['name']}".endswith(f".{zone.name}"):
            raise Refusal(400, 9109, "The name is not in this zone")
        same = [other for other in zone.records if other["name"] == record["name"] and other["type"] in _ADDRESSES]
        if any(other["content"] == record["content"] for other in same):
            raise Refusal(400, 81057, "The record already exists.")
        if same and "CNAME" in (record.get("type"), *(other["type"] for other in same)):
            raise Refusal(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
        made = self._numbered(zone, record)
        zone.records.append(made)
        return made

    def change(self, zone_id: str, record_id: str, change: Record) -> Record:
        for record in self.zone(zone_id).records:
            if record["id"] == record_id:
                record.update({key: value for key, value in change.items() if key in _FIELDS})
                return record
        raise Refusal(404, 81044, "Record does not exist.")

    def _numbered(self, zone: Zone, record: Record) -> Record:
        known = {key: record[key] for key in _FIELDS if key in record}
        return {"id": f"record{next(self._numbers)}", "zone_id": zone.zone_id, "proxied": False, "ttl": 1, **known}


def page(items: list[Record], number: int, per_page: int, most: int) -> tuple[list[Record], dict[str, int]]:
    """The items of this page, and `result_info`."""
    size = min(max(per_page, 1), most)
    shown = items[(number - 1) * size : number * size]
    info = {
        "page": number,
        "per_page": size,
        "count": len(shown),
        "total_count": len(items),
        "total_pages": -(-len(items) // size),
    }
    return shown, info

"""Buyers' stories as data: what happens, and the expected results.

An act is `{"do": name, …}` or `{"expect": {…}}`. Tiers are named by their part in any app: `first` (the default
tier), `paid` and `higher` (two tiers for sale), `given` (the highest tier).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Story:
    """`acts` in order. `needs`: what an app must have for it, of the parts `higher` and `given` and of "holds disputes"
    (`on_dispute` is `hold`).
    """

    name: str
    acts: tuple[dict[str, Any], ...]
    needs: frozenset[str]


def stories() -> list[Story]:
    """Every story of the package, in the order of the files' names."""
    folder = resources.files(__name__)
    found: list[Story] = []
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".json"):
            found += [_story(raw) for raw in json.loads(file.read_text(encoding="utf-8"))]
    return found


def _story(raw: dict[str, Any]) -> Story:
    acts = tuple(raw["acts"])
    text = json.dumps(acts)
    parts = frozenset(part for part in ("higher", "given") if f'"{part}"' in text)
    return Story(raw["name"], acts, parts | frozenset(raw.get("needs", ())))

"""Each hazard that the code or a test cites by number has its entry in docs/hazards.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"(?<![A-Za-z0-9_<\[])T([1-9][0-9]?)(?![0-9A-Za-z:_\]>-])|\btest_t([1-9][0-9]?)_")


def test_every_cited_hazard_is_explained() -> None:
    explained = {int(number) for number in re.findall(r"\*\*T(\d+) ", (ROOT / "docs/hazards.md").read_text())}
    cited: dict[int, str] = {}
    for folder in ("gateway", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for upper, in_name in CITED.findall(path.read_text(encoding="utf-8")):
                cited.setdefault(int(upper or in_name), str(path.relative_to(ROOT)))
    assert len(cited) > 20
    assert {number: path for number, path in cited.items() if number not in explained} == {}

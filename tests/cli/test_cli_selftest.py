"""`skpay selftest`: every story for every app, in a bounded number of tellings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli_result import Skpay
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog import parse
from gateway.cli.selftest import SHAPES, runs_of_app
from gateway.sandbox.stories import stories
from gateway.sandbox.stories.delivery_order import tiers_by_part

ROOT = Path(__file__).parent.parent.parent


@given(orders=st.integers(1, 40), apps=st.integers(1, 60))
def test_all_apps_together_play_every_run_and_each_app_at_least_one(orders: int, apps: int) -> None:
    hands = [runs_of_app(orders, apps, place) for place in range(apps)]
    assert {telling for hand in hands for telling in hand} == {(shape, n) for shape in SHAPES for n in range(orders)}
    assert all(hands)
    assert sum(map(len, hands)) == max(apps, 2 * orders)


@given(sold=st.integers(2, 6))
def test_every_tier_for_sale_is_bought_at_some_turn_and_the_higher_one_is_higher(sold: int) -> None:
    tiers: list[dict[str, Any]] = [{"id": "free", "name": "Free"}]
    tiers += [{"id": f"t{n}", "name": f"T{n}", "prices": [{"lookup_key": f"t{n}"}]} for n in range(sold)]
    app = parse(json.dumps({"apps": [_app("a", tiers)]}).encode()).apps["a"]
    turns = [tiers_by_part(app, turn) for turn in range(len(stories()))]
    assert {part.tier_id for parts in turns for part in (parts["paid"], parts["higher"])} == {
        f"t{n}" for n in range(sold)
    }
    assert all(parts["paid"].rank < parts["higher"].rank for parts in turns)


def _app(app_id: str, tiers: list[dict[str, Any]]) -> dict[str, Any]:
    page = f"https://{app_id}.example.com/"
    return {
        "id": app_id, "name": app_id, "hosts": [f"{app_id}.example.com"], "upstream": "http://127.0.0.1:9",
        "identity": [{"kind": "user_key"}], "urls": {"success": page, "cancel": page}, "tiers": tiers,
    }  # fmt: skip


async def test_each_app_is_proved_by_each_story(skpay: Skpay, tmp_path: Path) -> None:
    apps = [
        _app(f"app{number}", [{"id": "free", "name": "Free"},
                              {"id": "pro", "name": "Pro", "prices": [{"lookup_key": f"pro_{number}"}]},
                              {"id": "top", "name": "Top", "prices": [{"lookup_key": f"top_{number}"}]}])
        for number in range(2)
    ]  # fmt: skip
    file = tmp_path / "apps.json"
    file.write_text(json.dumps({"apps": apps}), encoding="utf-8")
    result = await skpay("selftest", "--apps", str(file), "--orders", "1")
    assert result.code == 0, result.out
    text = result.out.splitlines()
    assert text[-1] == f"{2 * len(stories())} runs of {2 * len(stories())} stories, 0 failed"
    for number in range(2):
        assert sum(line.startswith(f"✓ app{number}: ") for line in text) == len(stories())


async def test_an_app_that_is_not_there_is_wrong_input(skpay: Skpay) -> None:
    result = await skpay("selftest", "--apps", str(ROOT / "apps.json"), "--app", "nope")
    assert (result.code, "has no app 'nope'" in result.err) == (2, True)

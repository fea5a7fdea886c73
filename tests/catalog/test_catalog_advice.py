"""What is allowed in apps.json and probably not meant: `skpay check` warns of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from catalog.test_catalog_refusals import document

from gateway.catalog import parse
from gateway.catalog.advice import advice

FREE = {"id": "free", "name": "Free", "limits": {"max_budget": 1, "rpm_limit": 60}, "features": ["chat"]}


def advised(*tiers: dict[str, Any]) -> list[str]:
    tree = document()
    tree["apps"][0].update(tiers=[FREE, *tiers], routes=[])
    return advice(parse(json.dumps(tree).encode()))


def tier(name: str, **more: Any) -> dict[str, Any]:
    prices = [{"price_id": f"price_{name}"}]
    limits = {"max_budget": 5, "rpm_limit": 60}
    return {"id": name, "name": name.title(), "prices": prices, "features": ["chat"], "limits": limits, **more}


def test_more_for_more_is_nothing_to_say() -> None:
    assert advised(tier("pro"), tier("max", features=["chat", "images"], limits={})) == []


def test_a_tier_without_prices_that_is_not_internal_is_named() -> None:
    (line,) = advised(tier("pro", prices=[]))
    assert line.startswith("apps[0].tiers[1]: Pro has no prices, so nobody can buy it")
    assert advised(tier("pro", prices=[], internal=True)) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"features": []}, "no feature 'chat'"),
        ({"limits": {"max_budget": 0.5, "rpm_limit": 60}}, "max_budget 0.5, not 1"),
        ({"limits": {"max_budget": 1, "rpm_limit": 59}}, "rpm_limit 59, not 60"),
        ({"limits": {"max_budget": 1, "tpm_limit": 9}}, "tpm_limit 9, not unlimited"),
        ({"limits": {"models": ["small"]}}, "models without any model"),
    ],
)
def test_a_dearer_tier_with_less_than_a_cheaper_one_is_named(more: dict[str, Any], message: str) -> None:
    assert advised(tier("pro", **more)) == [f"apps[0].tiers[1]: Pro has less than Free: {message}"]


def test_the_nearest_cheaper_tier_is_named_and_internal_ones_are_not_compared() -> None:
    lines = advised(tier("pro", features=["chat", "images"]), tier("max"), tier("own", features=[], internal=True))
    assert lines == ["apps[0].tiers[2]: Max has less than Pro: no feature 'images'"]


def test_budgets_of_other_durations_are_not_compared() -> None:
    assert advised(tier("pro", limits={"max_budget": 0.5, "budget_duration": "1h"})) == []

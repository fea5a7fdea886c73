"""An edit of apps.json reaches every user whose tier it changes, without an event from Stripe."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.billing.checkout.checkout import expire_withdrawn
from gateway.billing.checkout.prices import resolve_prices
from gateway.billing.refresh import rederive as rederive_module
from gateway.billing.refresh.rederive import rederive, rules_digest
from gateway.catalog import parse
from gateway.catalog.model import Catalog
from gateway.sandbox.stories.delivery_order import DeliveryOrder
from gateway.sandbox.stories.player import DAY, StoryPlayer
from gateway.sandbox.stories.simulation import Simulation, open_simulation

RAW = json.loads((Path(__file__).parents[2] / "apps.json").read_text(encoding="utf-8"))
SHIPPED = parse(json.dumps(RAW).encode())
APP = SHIPPED.apps["skai"]


def _edited(**values: Any) -> Catalog:
    raw = json.loads(json.dumps(RAW))
    raw["apps"][0].update(values)
    return parse(json.dumps(raw).encode())


@pytest.fixture
async def stage() -> AsyncIterator[Simulation]:
    async with open_simulation(SHIPPED) as opened:
        yield opened


@pytest.fixture
async def person(stage: Simulation) -> AsyncIterator[StoryPlayer]:
    async with aiohttp.ClientSession() as session:
        yield StoryPlayer(stage, APP, DeliveryOrder(0), session)


async def _install(stage: Simulation, catalog: Catalog) -> int:
    await stage.install(catalog)
    changed = await rederive(stage.billing.work, stage.billing.apps)
    await stage.settle()
    return changed


async def test_a_longer_grace_restores_the_tier_that_a_shorter_one_ended(
    stage: Simulation, person: StoryPlayer
) -> None:
    await _install(stage, SHIPPED)
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"do": "fail_renewal"})
    await person.do({"expect": {"tier": "paid", "status": "past_due"}})
    stage.stripe.advance(DAY)
    assert await _install(stage, _edited(grace="0d")) == 1
    await person.expect({"tier": "first"})
    await _install(stage, _edited(grace="30d"))
    # Whom the shorter one put out does not matter: what they paid last counts, and since when a payment is missing.
    await person.expect({"tier": "paid"})
    await person.do({"do": "pay_invoice"})
    await person.do({"expect": {"tier": "paid", "status": "active"}})


async def test_a_tier_renamed_with_was_keeps_its_payers(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"expect": {"tier": "paid"}})
    tiers = json.loads(json.dumps(RAW["apps"][0]["tiers"]))
    tiers[1].update({"id": "plus", "was": ["pro"]})
    renamed = _edited(tiers=tiers, routes=[])
    assert await _install(stage, renamed) == 1
    assert stage.gate["skai", person.user_id] == "plus"


async def test_an_edit_without_effect_on_tiers_refreshes_no_user(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"expect": {"tier": "paid"}})
    assert await _install(stage, SHIPPED) == 1  # the first time everybody is looked at once
    assert await _install(stage, SHIPPED) == 0
    assert await _install(stage, _edited(hosts=["other.example.com"], name="Other", routes=[])) == 0
    assert await _install(stage, _edited(grace="1d")) == 1


async def test_an_edit_of_other_prices_reaches_users_with_one(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"expect": {"tier": "paid"}})
    tiers = json.loads(json.dumps(RAW["apps"][0]["tiers"]))
    tiers[1]["prices"], tiers[2]["prices"] = tiers[2]["prices"], []  # pro is sold at enterprise's price from now on
    assert await _install(stage, _edited(tiers=tiers)) == 1
    await person.expect({"tier": "paid"})  # what once was a price of the tier still is
    (subscription,) = stage.stripe.snapshot()["subscription"]
    price_id = subscription["items"]["data"][0]["price"]["id"]
    assert await _install(stage, _edited(tiers=tiers, other_prices=[{"price_id": price_id}])) == 1
    await person.expect({"tier": "first"})
    assert await _install(stage, _edited(tiers=tiers)) == 1
    await person.expect({"tier": "paid"})


def test_the_digest_sees_each_rule_and_nothing_else() -> None:
    same = [_edited(name="Other"), _edited(hosts=["a.example.com"]), _edited(routes=[])]
    other = [_edited(grace="8d"), _edited(on_dispute="keep"), _edited(on_full_refund="hold")]
    assert {rules_digest(catalog.apps["skai"]) for catalog in same} == {rules_digest(APP)}
    for price in ({"price_id": "price_seat"}, {"lookup_key": "seat"}, {"product_id": "prod_seat"}):
        other.append(_edited(other_prices=[price]))
    assert len({rules_digest(catalog.apps["skai"]) for catalog in other} | {rules_digest(APP)}) == 7


def test_a_version_with_other_rules_refreshes_every_user(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_digest(APP)
    monkeypatch.setattr(rederive_module, "RULES_VERSION", rederive_module.RULES_VERSION + 1)
    assert rules_digest(APP) != before


async def test_t21_what_an_edit_takes_from_sale_cannot_be_paid_any_more(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "open_checkout", "tier": "paid"})
    (session,) = stage.stripe.snapshot()["checkout.session"]
    assert await expire_withdrawn(stage.billing) == 0
    tiers = json.loads(json.dumps(RAW["apps"][0]["tiers"]))
    tiers[1]["prices"] = [{"price_id": "price_123"}]  # pro is sold at another price now,
    tiers[2]["prices"] = []  # which was enterprise's
    await stage.install(_edited(tiers=tiers))
    await resolve_prices(stage.billing)
    assert await expire_withdrawn(stage.billing) == 1
    assert await expire_withdrawn(stage.billing) == 0
    (session,) = stage.stripe.snapshot()["checkout.session"]
    assert session["status"] == "expired"


async def test_t21_what_was_paid_before_the_edit_is_a_purchase(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    stage.take_new_events()
    tiers = json.loads(json.dumps(RAW["apps"][0]["tiers"]))
    tiers[1]["prices"] = []
    await stage.install(_edited(tiers=tiers))
    await resolve_prices(stage.billing)
    assert await expire_withdrawn(stage.billing) == 0
    await stage.settle()
    await person.expect({"tier": "paid", "status": "active"})

"""`other_prices` of an app: prices that are known and give no tier."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from servers.harness import APPS

from gateway.catalog import parse
from gateway.catalog.model import OtherPrice
from gateway.catalog.schema import json_schema
from gateway.errors import ConfigError

SUPPORT, SEATS, EXTRAS = {"price_id": "price_support"}, {"lookup_key": "skai_seat"}, {"product_id": "prod_extras"}


def document(*others: object, of_studio: tuple[object, ...] = ()) -> dict[str, Any]:
    made = copy.deepcopy(APPS)
    made["apps"][0]["other_prices"] = list(others)
    made["apps"][1]["other_prices"] = list(of_studio)
    return made


def problems(made: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(json.dumps(made).encode())
    return "\n".join(refused.value.problems)


def test_a_price_a_lookup_key_or_a_product_can_be_declared() -> None:
    made = document(SUPPORT, SEATS, EXTRAS, of_studio=(SUPPORT,))  # apps may sell the same add-on
    jsonschema.validate(made, json_schema())
    catalog = parse(json.dumps(made).encode())
    assert catalog.apps["skai"].other_prices == (
        OtherPrice(price_id="price_support"), OtherPrice(lookup_key="skai_seat"), OtherPrice(product_id="prod_extras")
    )  # fmt: skip
    assert catalog.apps["studio"].other_prices == (OtherPrice(price_id="price_support"),)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([{}], "apps[0].other_prices[0]: expected one of price_id, lookup_key, product_id, got none"),
        ([{**SUPPORT, **EXTRAS}], "apps[0].other_prices[0]: expected one of price_id, lookup_key, product_id, got 2"),
        ([SUPPORT, SUPPORT], "apps[0].other_prices[1].price_id: the same price_id is used at"),
        ([SEATS, SEATS], "apps[0].other_prices[1].lookup_key: the same lookup_key is used at"),
        ([EXTRAS, EXTRAS], "apps[0].other_prices[1].product_id: the same product_id is used at"),
        ([{"price_id": "price_123"}], "apps[0].other_prices[0].price_id: this price gives a tier, at apps[0].tiers[2]"),
        ([{"lookup_key": "studio_plus"}], "apps[0].other_prices[0].lookup_key: this price gives a tier, at apps[1]"),
        ([{"product": "prod_1"}], 'apps[0].other_prices[0].product: unknown key; did you mean "product_id"?'),
        ([{"price_id": 5}], "apps[0].other_prices[0].price_id: expected the id of a Stripe price"),
        ([{"product_id": ""}], "apps[0].other_prices[0].product_id: expected the id of a Stripe product"),
        ([{"price_id": "price_1", "interval": "month"}], "apps[0].other_prices[0].interval: unknown key"),
        (["price_1"], "apps[0].other_prices[0]: expected an object"),
    ],
)
def test_anything_else_is_refused_with_its_place(others: list[object], message: str) -> None:
    assert message in problems(document(*others))

"""Products and prices: what is for sale."""

from __future__ import annotations

from gateway.sandbox.stripe import new_objects
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import (
    FLAG,
    METADATA,
    PAGE,
    TEXT,
    TEXT_KEPT,
    TIMES,
    Hash,
    Many,
    OneOf,
    Spec,
    Text,
    Whole,
)
from gateway.sandbox.stripe.params import merged_metadata as merged
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.render import in_time_range, page

_INTERVALS = OneOf("day", "month", "week", "year")
_USAGE = OneOf("licensed", "metered")


def make_product(state: AccountState, params: Json) -> Json:
    """Add a product and emit its event."""
    product: Json = {
        "id": params.get("id") or new_id("prod", 14),
        "object": "product",
        "active": params.get("active", True),
        "created": state.time(),
        "default_price": None,
        "description": params.get("description"),
        "images": params.get("images", []),
        "livemode": False,
        "marketing_features": params.get("marketing_features", []),
        "metadata": merged({}, params.get("metadata", {})),
        "name": params["name"],
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": params.get("statement_descriptor"),
        "tax_code": None,
        "type": "service",
        "unit_label": params.get("unit_label"),
        "updated": state.time(),
        "url": params.get("url"),
    }
    if product["id"] in state.objects["product"]:
        raise invalid("Product already exists.", code="resource_already_exists", param="id")
    state.add(product)
    state.emit("product.created", product)
    return product


def make_price(state: AccountState, params: Json, price_id: str | None = None) -> Json:
    """Add a price and emit its event; `price_id` is for seeding only."""
    recurring = params.get("recurring")
    if "unit_amount" not in params:
        raise invalid("Missing required param: unit_amount.", param="unit_amount", code="parameter_missing")
    if "product_data" in params:
        params = {**params, "product": make_product(state, params["product_data"])["id"]}
    elif "product" not in params:
        raise invalid(
            "You must specify either `product` or `product_data` when creating a price.", code="parameter_missing"
        )
    state.find("product", params["product"], param="product")
    lookup_key = params.get("lookup_key")
    _take_lookup_key(state, lookup_key, None, bool(params.get("transfer_lookup_key")))
    price: Json = {
        **new_objects.price(),
        "id": price_id or new_id("price"),
        "active": params.get("active", True),
        "created": state.time(),
        "currency": params["currency"].lower(),
        "lookup_key": lookup_key,
        "metadata": merged({}, params.get("metadata", {})),
        "nickname": params.get("nickname"),
        "product": params["product"],
        "recurring": None if recurring is None else _recurring(recurring),
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": params["unit_amount"],
        "unit_amount_decimal": str(params["unit_amount"]),
    }
    state.add(price)
    state.emit("price.created", price)
    return price


def _recurring(given: Json) -> Json:
    return {
        "interval": given["interval"],
        "interval_count": given.get("interval_count", 1),
        "meter": None,
        "trial_period_days": None,
        "usage_type": given.get("usage_type", "licensed"),
    }


def _take_lookup_key(state: AccountState, lookup_key: str | None, own_id: str | None, transfer: bool) -> None:
    """A lookup key belongs to one price; with `transfer_lookup_key` the other one loses it, else it is refused."""
    if lookup_key is None:
        return
    for other in state.all("price"):
        if other["lookup_key"] != lookup_key or other["id"] == own_id:
            continue
        if not transfer:
            raise invalid(
                f"A price (`{other['id']}`) already uses that lookup key. Pass `transfer_lookup_key: true` to transfer "
                "the lookup key to this price.",
                param="lookup_key",
            )
        with state.emit_if_changed(other, "price.updated"):
            other["lookup_key"] = None


def create_price(state: AccountState, call: Call) -> Json:
    """POST /v1/prices."""
    return make_price(state, call.params)


def update_price(state: AccountState, call: Call) -> Json:
    """POST /v1/prices/{}: amount and interval never change."""
    price = state.find("price", call.object_id)
    params = call.params
    if "lookup_key" in params:
        _take_lookup_key(state, params["lookup_key"], price["id"], bool(params.get("transfer_lookup_key")))
    with state.emit_if_changed(price, "price.updated"):
        price.update(chosen(params, "active", "lookup_key", "nickname", "tax_behavior"))
        if "metadata" in params:
            price["metadata"] = merged(price["metadata"], params["metadata"])
    return price


def list_prices(state: AccountState, call: Call) -> Json:
    """GET /v1/prices, newest first; inactive ones are listed too unless `active` is given."""
    params = call.params
    recurring = params.get("recurring", {})
    found = [
        price
        for price in reversed(state.all("price"))
        if all(price[name] == value for name, value in chosen(params, "active", "currency", "product", "type").items())
        and ("lookup_keys" not in params or price["lookup_key"] in params["lookup_keys"])
        and ("created" not in params or in_time_range(price["created"], params["created"]))
        and all((price["recurring"] or {}).get(name) == value for name, value in recurring.items())
    ]
    return page(state, found, params, "/v1/prices")


def retrieve_price(state: AccountState, call: Call) -> Json:
    """GET /v1/prices/{}."""
    return state.find("price", call.object_id)


def create_product(state: AccountState, call: Call) -> Json:
    """POST /v1/products."""
    return make_product(state, call.params)


def update_product(state: AccountState, call: Call) -> Json:
    """POST /v1/products/{}."""
    product = state.find("product", call.object_id)
    with state.emit_if_changed(product, "product.updated"):
        product.update(chosen(call.params, "active", "description", "name", "images", "unit_label", "url"))
        if "metadata" in call.params:
            product["metadata"] = merged(product["metadata"], call.params["metadata"])
        product["updated"] = state.time()
    return product


def retrieve_product(state: AccountState, call: Call) -> Json:
    """GET /v1/products/{}."""
    return state.find("product", call.object_id)


def list_products(state: AccountState, call: Call) -> Json:
    """GET /v1/products, newest first."""
    params = call.params
    found = [
        product
        for product in reversed(state.all("product"))
        if ("active" not in params or product["active"] == params["active"])
        and ("ids" not in params or product["id"] in params["ids"])
        and ("created" not in params or in_time_range(product["created"], params["created"]))
    ]
    return page(state, found, params, "/v1/products")


_PRODUCT = {
    "active": FLAG,
    "description": TEXT,
    "images": Many(TEXT),
    "metadata": METADATA,
    "name": TEXT_KEPT,
    "unit_label": TEXT,
    "url": TEXT,
}
_NEW_PRODUCT = {
    **_PRODUCT,
    "id": TEXT_KEPT,
    "marketing_features": Many(Hash({"name": TEXT_KEPT}, needs=("name",))),
    "statement_descriptor": TEXT,
}
_PRODUCT_DATA = {
    "active": FLAG,
    "id": TEXT_KEPT,
    "metadata": METADATA,
    "name": TEXT_KEPT,
    "statement_descriptor": TEXT,
    "unit_label": TEXT,
}
_PRICE = {
    "active": FLAG,
    "lookup_key": Text(longest=200),
    "metadata": METADATA,
    "nickname": TEXT,
    "tax_behavior": OneOf("exclusive", "inclusive", "unspecified"),
    "transfer_lookup_key": FLAG,
}
_NEW_PRICE = {
    **_PRICE,
    "currency": TEXT_KEPT,
    "product": TEXT_KEPT,
    "product_data": Hash(_PRODUCT_DATA, needs=("name",)),
    "recurring": Hash(
        {"interval": _INTERVALS, "interval_count": Whole(1, 1095), "usage_type": _USAGE}, needs=("interval",)
    ),
    "unit_amount": Whole(0, 99_999_999),
}
_PRICE_FILTERS = {
    **PAGE,
    "active": FLAG,
    "created": TIMES,
    "currency": TEXT_KEPT,
    "lookup_keys": Many(TEXT_KEPT, most=10),
    "product": TEXT_KEPT,
    "recurring": Hash({"interval": _INTERVALS, "usage_type": _USAGE}),
    "type": OneOf("one_time", "recurring"),
}
ROUTES = (
    Route("POST", "/v1/products", create_product, Spec(_NEW_PRODUCT, needs=("name",))),
    Route("GET", "/v1/products", list_products, Spec({**PAGE, "active": FLAG, "created": TIMES, "ids": Many(TEXT)})),
    Route("GET", "/v1/products/{}", retrieve_product),
    Route("POST", "/v1/products/{}", update_product, Spec(_PRODUCT)),
    Route("POST", "/v1/prices", create_price, Spec(_NEW_PRICE, needs=("currency",))),
    Route("GET", "/v1/prices", list_prices, Spec(_PRICE_FILTERS)),
    Route("GET", "/v1/prices/{}", retrieve_price),
    Route("POST", "/v1/prices/{}", update_price, Spec(_PRICE)),
)

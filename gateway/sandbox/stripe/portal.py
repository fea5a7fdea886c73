"""Billing portal configurations and sessions, and what the portal does when a customer clicks."""

from __future__ import annotations

import copy
from typing import Any

from gateway.sandbox.stripe import billing, changes, schedules
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import merged_metadata
from gateway.sandbox.stripe.portal_params import CONFIGURATION, NEW_SESSION, PAGED
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.render import page

_OFF: Json = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {
            "enabled": False,
            "options": ["too_expensive", "missing_features", "switched_service", "unused", "other"],
        },
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}


def _configuration(state: AccountState, params: Json, *, is_default: bool = False) -> Json:
    now = state.time()
    configuration: Json = {
        "id": new_id("bpc"),
        "object": "billing_portal.configuration",
        "active": True,
        "application": None,
        "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        "created": now,
        "default_return_url": None,
        "features": copy.deepcopy(_OFF),
        "is_default": is_default,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": now,
    }
    _write(state, configuration, params)
    return state.add(configuration)


def _write(state: AccountState, configuration: Json, params: Json) -> None:
    configuration.update(chosen(params, "active", "default_return_url", "name"))
    configuration["business_profile"].update(params.get("business_profile") or {})
    for name, change in params.get("features", {}).items():
        _lay_over(configuration["features"][name], change)
    for position, product in enumerate(configuration["features"]["subscription_update"]["products"]):
        _check_product(state, product, f"features[subscription_update][products][{position}]")
    update = configuration["features"]["subscription_update"]
    if update["enabled"] and "products" in params.get("features", {}).get("subscription_update", {}):
        update["default_allowed_updates"] = update["default_allowed_updates"] or []
    if "login_page" in params:
        enabled = params["login_page"]["enabled"]
        url = f"{state.public_url}/p/login/{configuration['id']}" if enabled else None
        configuration["login_page"] = {"enabled": enabled, "url": url}
    if "metadata" in params:
        configuration["metadata"] = merged_metadata(configuration["metadata"], params["metadata"])
    configuration["updated"] = state.time()


def _lay_over(old: Json, change: Json) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            _lay_over(old[key], value)
        else:
            old[key] = value


def _check_product(state: AccountState, product: Json, param: str) -> None:
    state.find("product", product["product"], param=f"{param}[product]")
    for position, price_id in enumerate(product["prices"]):
        price = state.find("price", price_id, param=f"{param}[prices][{position}]")
        if price["product"] != product["product"]:
            raise invalid(
                f"The price {price_id} does not belong to the product {product['product']}.", param=f"{param}[prices]"
            )
    product.setdefault("adjustable_quantity", {"enabled": False, "maximum": None, "minimum": 1})


def create_configuration(state: AccountState, call: Call) -> Json:
    """POST /v1/billing_portal/configurations."""
    configuration = _configuration(state, call.params)
    state.emit("billing_portal.configuration.created", configuration)
    return configuration


def update_configuration(state: AccountState, call: Call) -> Json:
    """POST /v1/billing_portal/configurations/{}."""
    configuration = state.find("billing_portal.configuration", call.object_id)
    with state.emit_if_changed(configuration, "billing_portal.configuration.updated"):
        _write(state, configuration, call.params)
    return configuration


def retrieve_configuration(state: AccountState, call: Call) -> Json:
    """GET /v1/billing_portal/configurations/{}."""
    return state.find("billing_portal.configuration", call.object_id)


def list_configurations(state: AccountState, call: Call) -> Json:
    """GET /v1/billing_portal/configurations, newest first."""
    requested = chosen(call.params, "active", "is_default")
    found = [
        configuration
        for configuration in reversed(state.all("billing_portal.configuration"))
        if all(configuration[name] == value for name, value in requested.items())
    ]
    return page(state, found, call.params, "/v1/billing_portal/configurations")


def _default_configuration(state: AccountState) -> Json:
    for configuration in state.all("billing_portal.configuration"):
        if configuration["is_default"]:
            return configuration
    if not state.settings.default_portal_configuration:
        raise invalid(
            "No configuration provided and your test mode default configuration has not been created. Provide a "
            "configuration or create your default by saving your customer portal settings in test mode at "
            "https://dashboard.stripe.com/test/settings/billing/portal."
        )
    every_price = [price for price in state.all("price") if price["active"] and price["recurring"]]
    by_product: dict[str, list[str]] = {}
    for price in every_price:
        by_product.setdefault(price["product"], []).append(price["id"])
    features: Json = {
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True},
        "subscription_update": {
            "enabled": True,
            "default_allowed_updates": ["price"],
            "products": [{"product": product, "prices": prices} for product, prices in by_product.items()],
        },
    }
    return _configuration(state, {"features": features}, is_default=True)


def create_session(state: AccountState, call: Call) -> Json:
    """POST /v1/billing_portal/sessions: a short-lived bearer link."""
    params = call.params
    customer = state.active_customer(params["customer"])
    if "configuration" in params:
        configuration = state.find("billing_portal.configuration", params["configuration"], param="configuration")
        if not configuration["active"]:
            raise invalid("The configuration is not active.", param="configuration")
    else:
        configuration = _default_configuration(state)
    return_url = params.get("return_url", configuration["default_return_url"])
    flow = params.get("flow_data")
    session: Json = {
        "id": new_id("bps"),
        "object": "billing_portal.session",
        "after_expiration": None,
        "configuration": configuration["id"],
        "created": state.time(),
        "customer": customer["id"],
        "customer_account": None,
        "flow": None if flow is None else _flow(state, customer, configuration, flow),
        "livemode": False,
        "locale": params.get("locale"),
        "on_behalf_of": None,
        "return_url": return_url,
        "_secret": new_id("test", 40),
    }
    session["url"] = f"{state.public_url}/p/session/{session['_secret']}"
    state.add(session)
    state.emit("billing_portal.session.created", session)
    return session


def _flow(state: AccountState, customer: Json, configuration: Json, requested: Json) -> Json:
    """Checks a deep link as Stripe does: the feature is on, the subscription is this customer's and not over."""
    kind = requested["type"]
    after = requested.get("after_completion", {"type": "portal_homepage"})
    flow: Json = {
        "type": kind,
        "after_completion": {
            "type": after["type"],
            "hosted_confirmation": after.get("hosted_confirmation"),
            "redirect": after.get("redirect"),
        },
        "subscription_cancel": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
    }
    feature = {"subscription_update_confirm": "subscription_update"}.get(kind, kind)
    if not configuration["features"][feature]["enabled"]:
        raise invalid(
            f"This flow cannot be used because the {feature} feature in the portal configuration is disabled.",
            param="flow_data[type]",
        )
    if kind in ("payment_method_update", "customer_update"):
        return flow
    if kind not in requested:
        name = f"flow_data[{kind}]"
        raise invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")
    detail = requested[kind]
    param = f"flow_data[{kind}][subscription]"
    subscription = state.find("subscription", detail["subscription"], param=param)
    if subscription["customer"] != customer["id"]:
        raise invalid("The subscription does not belong to the customer.", param=param)
    if subscription["status"] in billing.OVER:
        raise invalid("This subscription is canceled and cannot be changed in the portal.", param=param)
    if kind == "subscription_update_confirm":
        _check_confirm(state, configuration, subscription, detail)
    if kind == "subscription_cancel" and subscription["cancel_at"] is not None:
        raise invalid("The subscription is already set to be canceled.", param=param)
    flow[kind] = _detail(kind, detail)
    return flow


def _detail(kind: str, detail: Json) -> Json:
    if kind == "subscription_cancel":
        return {"retention": None, "subscription": detail["subscription"]}
    if kind == "subscription_update_confirm":
        items = [{"id": i["id"], "price": i.get("price"), "quantity": i.get("quantity")} for i in detail["items"]]
        return {"discounts": None, "items": items, "subscription": detail["subscription"]}
    return {"subscription": detail["subscription"]}


def _check_confirm(state: AccountState, configuration: Json, subscription: Json, detail: Json) -> None:
    param = "flow_data[subscription_update_confirm][items]"
    if len(detail["items"]) != 1 or len(subscription["items"]["data"]) != 1:
        raise invalid("Subscriptions with multiple items cannot be updated in the portal.", param=param)
    changes.changed_items(state, subscription, detail["items"])
    price_id = detail["items"][0].get("price")
    if price_id is not None and price_id not in offered(configuration):
        raise invalid(f"The price {price_id} is not among the products of the portal configuration.", param=param)


def offered(configuration: Json) -> list[str]:
    """The prices a customer may switch to."""
    update = configuration["features"]["subscription_update"]
    if not update["enabled"]:
        return []
    return [price_id for product in update["products"] for price_id in product["prices"]]


def switch(state: AccountState, configuration: Json, subscription: Json, price_id: str) -> bool:
    """Change the plan. True if it changed now, False if it changes at the period's end.

    A declined card leaves everything as it was, unless the account's settings say otherwise.
    """
    features: Any = configuration["features"]["subscription_update"]
    conditions = [condition["type"] for condition in features["schedule_at_period_end"]["conditions"]]
    if subscription["schedule"]:
        raise invalid("This subscription has a scheduled change and cannot be updated here.")
    if changes.is_downgrade(state, subscription, price_id, conditions):
        schedules.change_at_period_end(state, subscription, price_id)
        return False
    item = subscription["items"]["data"][0]
    with state.emit_if_changed(subscription, billing.UPDATED):
        changes.apply(
            state,
            subscription,
            [{"id": item["id"], "price": price_id}],
            proration=features["proration_behavior"],
            behavior=state.settings.portal_payment_behavior,
        )
    return True


def cancel(state: AccountState, subscription: Json, *, at_once: bool) -> None:
    """What "cancel plan" does. Under flexible billing only `cancel_at` shows it, the flag stays false."""
    schedule = state.objects["subscription_schedule"].get(subscription["schedule"] or "")
    if schedule is not None:
        schedules.release_schedule(state, schedule)
    if at_once:
        billing.cancel_now(state, subscription)
        return
    classic = subscription["billing_mode"]["type"] == "classic"
    billing.cancel_later(state, subscription, billing.period_end(subscription), flag=classic)


_BASE = "/v1/billing_portal/configurations"
ROUTES = (
    Route("POST", _BASE, create_configuration, CONFIGURATION[0]),
    Route("GET", _BASE, list_configurations, PAGED),
    Route("GET", f"{_BASE}/{{}}", retrieve_configuration),
    Route("POST", f"{_BASE}/{{}}", update_configuration, CONFIGURATION[1]),
    Route("POST", "/v1/billing_portal/sessions", create_session, NEW_SESSION),
)

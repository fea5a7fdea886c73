"""/customer/* and /budget/*."""

from __future__ import annotations

import secrets
from datetime import datetime

from gateway.sandbox.litellm import durations, fields
from gateway.sandbox.litellm.fields import Body
from gateway.sandbox.litellm.refusal import detail, invalid, proxy_error
from gateway.sandbox.litellm.rows import Budget, Customer, Json
from gateway.sandbox.litellm.state import State
from gateway.sandbox.litellm.users import invalid_duration

_OWN_LIMITS = ("max_budget", "soft_budget", "budget_duration", "tpm_limit", "rpm_limit", "max_parallel_requests")
_PLAIN = ("alias", "blocked", "default_model", "allowed_model_region")


def new(state: State, body: Body) -> Json:
    """400 if it exists; a limit of its own makes a budget of its own."""
    sent = fields.read(body, fields.CUSTOMER_NEW, required="user_id")
    user_id = str(sent["user_id"])
    if sent.get("budget_id") is not None and sent.get("max_budget") is not None:
        raise invalid("value_error", ["body"], "Value error, Set either 'max_budget' or 'budget_id', not both.")
    if user_id in state.customers:
        message = f"Customer already exists, passed user_id={user_id}. Please pass a new user_id."
        raise proxy_error(400, message, "bad_request", "user_id")
    budget_id = _linked(state, sent)
    own = {name: sent[name] for name in _OWN_LIMITS if sent.get(name) is not None}
    if budget_id is None and own:
        budget_id = str(new_budget(state, own)["budget_id"])
    customer = Customer(user_id, budget_id=budget_id)
    _write(customer, sent)
    state.customers[user_id] = customer
    state.forget_customer(user_id)
    return customer.answer(state.budgets.get(budget_id or ""))


def update(state: State, body: Body) -> Json:
    """404 if unknown. A max_budget is written into the budget the customer has, shared or not."""
    sent = fields.read(body, fields.CUSTOMER_UPDATE, required="user_id")
    user_id = str(sent["user_id"])
    customer = state.customers.get(user_id)
    if customer is None:
        raise proxy_error(404, f"End User Id={user_id} does not exist in db", "not_found", "user_id")
    budget_id = _linked(state, sent)
    max_budget = sent.get("max_budget")
    if isinstance(max_budget, float):
        shared = state.budgets.get(customer.budget_id or "")
        if shared is not None:
            shared.max_budget = max_budget
        else:
            budget_id = str(new_budget(state, {"max_budget": max_budget})["budget_id"])
    customer.budget_id = budget_id or customer.budget_id
    _write(customer, sent)
    state.forget_customer(user_id)
    return customer.answer(state.budgets.get(customer.budget_id or ""))


def delete(state: State, body: Body) -> Json:
    """404 if one of them is unknown, and then none is deleted."""
    user_ids = fields.user_ids(body)
    if missing := [user_id for user_id in user_ids if user_id not in state.customers]:
        raise proxy_error(404, f"End User Id(s)={', '.join(missing)} do not exist in db", "not_found", "user_ids")
    for user_id in user_ids:
        del state.customers[user_id]
        state.forget_customer(user_id)
    message = f"Successfully deleted customers with ids: {user_ids}"
    return {"deleted_customers": len(user_ids), "message": message}


def info(state: State, query: Body) -> Json:
    user_id = str(query.get("end_user_id") or "")
    customer = state.customers.get(user_id)
    if customer is None:
        raise proxy_error(404, f"End User Id={user_id} does not exist in db", "not_found", "end_user_id")
    return customer.answer(state.budgets.get(customer.budget_id or ""))


def list_all(state: State, query: Body) -> list[Json]:
    return [each.answer(state.budgets.get(each.budget_id or "")) for each in state.customers.values()]


def new_budget(state: State, body: Body) -> Json:
    sent = fields.read(body, fields.BUDGET)
    budget_id = str(sent.get("budget_id") or secrets.token_hex(16))
    if budget_id in state.budgets:
        raise detail(400, {"error": f"Budget with id '{budget_id}' already exists."})
    _check_budget(sent)
    budget = state.budgets[budget_id] = Budget(budget_id, created_at=state.clock(), updated_at=state.clock())
    _write_budget(state, budget, sent)
    return budget.answer()


def update_budget(state: State, body: Body) -> Json | None:
    """200 null if unknown; null fields reset. Customers in the cache go on with the old limits."""
    sent = fields.read(body, fields.BUDGET)
    if sent.get("budget_id") is None:
        raise detail(400, {"error": "budget_id is required"})
    _check_budget(sent)
    budget = state.budgets.get(str(sent["budget_id"]))
    if budget is None:
        return None
    _write_budget(state, budget, sent)
    return budget.answer()


def info_budgets(state: State, body: Body) -> list[Json]:
    """The ones that exist; the others are just absent."""
    requested = fields.read(body, fields.BUDGETS, required="budgets")["budgets"]
    if not requested or not isinstance(requested, list):
        raise detail(400, {"error": "Specify list of budget id's to query. Passed in=[]"})
    return [budget.answer() for budget in state.budgets.values() if budget.budget_id in requested]


def list_budgets(state: State, query: Body) -> list[Json]:
    return [budget.answer() for budget in state.budgets.values()]


def _linked(state: State, sent: Body) -> str | None:
    budget_id = sent.get("budget_id")
    if budget_id is None:
        return None
    if budget_id not in state.budgets:
        message = "Foreign key constraint failed on the field: `LiteLLM_EndUserTable_budget_id_fkey (index)`"
        raise proxy_error(500, message, "internal_server_error")
    return str(budget_id)


def _write(customer: Customer, sent: Body) -> None:
    for name in _PLAIN:
        if sent.get(name) is not None:
            setattr(customer, name, sent[name])
    if isinstance(sent.get("models"), list):
        customer.models = list(sent["models"])  # type: ignore[call-overload]  # checked to be a list one line above
    if isinstance(sent.get("spend"), float):
        customer.spend = float(str(sent["spend"]))


def _write_budget(state: State, budget: Budget, sent: Body) -> None:
    budget.updated_at = state.clock()
    for name in _OWN_LIMITS:
        if name in sent:
            setattr(budget, name, sent[name])
    if sent.get("budget_reset_at") is not None:
        budget.budget_reset_at = datetime.fromisoformat(str(sent["budget_reset_at"])).timestamp()
    elif "budget_duration" in sent:
        duration = sent["budget_duration"]
        budget.budget_reset_at = None if duration is None else durations.reset_at(str(duration), state.clock())


def _check_budget(sent: Body) -> None:
    for name in ("max_budget", "soft_budget"):
        value = sent.get(name)
        if isinstance(value, float) and not 0 <= value < float("inf"):
            raise detail(400, {"error": f"{name} must be a non-negative finite number. Received: {value}"})
    duration = sent.get("budget_duration")
    if duration is not None and not durations.valid(str(duration)):
        raise detail(400, {"error": invalid_duration(str(duration))})

"""A mock chat call that obeys the limits as LiteLLM does: models, then budget, then the minute's rate."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from gateway.sandbox.litellm.fields import Body
from gateway.sandbox.litellm.refusal import Refusal, proxy_error
from gateway.sandbox.litellm.rows import Budget, Customer, Json, Key, User
from gateway.sandbox.litellm.state import State

_PROMPT_TOKENS, _COMPLETION_TOKENS = 8, 20
_ALL = {"all-proxy-models", "*"}
# First match wins; the two headers always count, ahead of any mapping.
_CUSTOMER_HEADERS = ("x-litellm-customer-id", "x-litellm-end-user-id")
_MAPPED_HEADER = "x-openwebui-user-id"


def complete(state: State, key: Key | None, headers: Mapping[str, str], body: Body) -> Json:
    """One completion, or the refusal of whichever limit is hit first. `key` None is the master key."""
    model = str(body.get("model") or "")
    user = state.users.get(key.user_id or "") if key else None
    customer_id = _customer_id(state, headers, body)
    customer, budget = _customer(state, key, customer_id) if customer_id else (None, None)
    _check_models(state, model, user, customer)
    if state.prices.get(model) != 0:  # the budget is not checked for a model that costs nothing
        _check_budgets(state, user, customer, budget)
    _check_rates(state, user, customer, budget)
    if body.get("messages") is None:
        message = "/chat/completions: Missing required parameter: 'messages'."
        raise Refusal(
            400, {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": "400"}}
        )
    if model not in state.prices:
        message = (
            f"/chat/completions: Invalid model name passed in model={model}. "
            "Call `/v1/models` to view available models for your key."
        )
        raise Refusal(
            400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "400"}}
        )
    _charge(state, state.prices[model], key, user, customer_id, headers)
    return _answer(model)


def _customer_id(state: State, headers: Mapping[str, str], body: Body) -> str | None:
    for name in _CUSTOMER_HEADERS:
        if headers.get(name):
            return headers[name]
    if state.header_role == "customer" and headers.get(_MAPPED_HEADER):
        return headers[_MAPPED_HEADER]
    return str(body["user"]) if body.get("user") else None


def _customer(state: State, key: Key | None, customer_id: str) -> tuple[Customer, Budget | None]:
    """A customer without a budget falls into the key's own, then into the proxy's, from its first call on."""
    customer, budget = state.customer_as_cached(customer_id) or (Customer(customer_id), None)
    if budget is None:
        default = (key.end_user_budget_id if key else None) or state.default_budget_id
        budget = state.budgets.get(default or "")
    return customer, budget


def _check_models(state: State, model: str, user: User | None, customer: Customer | None) -> None:
    denied = 401 if state.version.old else 403
    if user is not None and user.models and not _ALL & set(user.models) and model not in user.models:
        message = (
            f"The requested model '{model}' is not available for this API key, or the model name is invalid. "
            "Check the models available to you and try again."
        )
        raise proxy_error(denied, message, "user_model_access_denied", "model")
    if customer is not None and customer.models and not _ALL & set(customer.models) and model not in customer.models:
        message = (
            f"The requested model '{model}' is not in the allowed models for this customer. "
            "Check the models this customer can use and try again."
        )
        raise proxy_error(denied, message, "customer_model_access_denied", "model")


def _check_budgets(state: State, user: User | None, customer: Customer | None, budget: Budget | None) -> None:
    """An internal user is stopped when the budget is reached, a customer only when it is passed."""
    status = 400 if state.version.old else 422
    if user is not None and user.max_budget is not None and user.spend >= user.max_budget:
        message = f"ExceededBudget: User={user.user_id} over budget. Spend={user.spend}, Budget={user.max_budget}"
        raise proxy_error(status, message, "budget_exceeded")
    if customer is None or budget is None or budget.max_budget is None:
        return
    if customer.spend > budget.max_budget:
        message = (
            f"ExceededBudget: End User={customer.user_id} over budget. "
            f"Spend={customer.spend}, Budget={budget.max_budget}"
        )
        raise proxy_error(status, message, "budget_exceeded")


def _check_rates(state: State, user: User | None, customer: Customer | None, budget: Budget | None) -> None:
    limited: list[tuple[str, str, User | Budget]] = []
    if user is not None:
        limited.append(("user", user.user_id, user))
    if customer is not None and budget is not None:
        limited.append(("end_user", customer.user_id, budget))
    for kind, user_id, limits in limited:
        window = state.window(f"{kind}:{user_id}")
        for what, used, limit in (
            ("requests", window.calls, limits.rpm_limit),
            ("tokens", window.tokens, limits.tpm_limit),
        ):
            if limit is not None and used >= limit:
                until = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(window.began_at + 60))
                message = (
                    f"Rate limit exceeded for {kind}: {user_id}. Limit type: {what}. Current limit: {limit}, "
                    f"Remaining: 0. Limit resets at: {until} UTC"
                )
                raise proxy_error(429, message, "throttling_error")
        window.calls += 1


def _charge(
    state: State, cost: float, key: Key | None, user: User | None, customer_id: str | None, headers: Mapping[str, str]
) -> None:
    tokens = _PROMPT_TOKENS + _COMPLETION_TOKENS
    if key is not None:
        key.spend += cost
    if user is not None:
        user.spend += cost
        state.window(f"user:{user.user_id}").tokens += tokens
    mapped = state.users.get(headers.get(_MAPPED_HEADER, "")) if state.header_role == "internal_user" else None
    if mapped is not None and mapped is not user:
        # Mapped to internal_user, the header only attributes spend; the user's limits are not checked.
        mapped.spend += cost
    if customer_id is not None:
        # A first call makes the row, without a budget.
        customer = state.customers.setdefault(customer_id, Customer(customer_id))
        customer.spend += cost
        state.window(f"end_user:{customer_id}").tokens += tokens


def _answer(model: str) -> Json:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model,
        "object": "chat.completion",
        "choices": [
            {"finish_reason": "stop", "index": 0, "message": {"content": "hello from mock", "role": "assistant"}}
        ],
        "usage": {
            "completion_tokens": _COMPLETION_TOKENS,
            "prompt_tokens": _PROMPT_TOKENS,
            "total_tokens": _PROMPT_TOKENS + _COMPLETION_TOKENS,
        },
    }

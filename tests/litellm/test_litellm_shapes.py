"""The sandbox answers what the real LiteLLM answers: the same status and the same keys, call by call."""

from __future__ import annotations

import uuid
from typing import Any

import aiohttp
import pytest
from servers.litellm_server import RealLiteLLM

from gateway.sandbox.litellm import LiteLLMSandbox

KEY = "sk-master-of-the-sandbox-77aa"
MESSAGES = [{"role": "user", "content": "hi"}]


def _calls(mark: str) -> list[tuple[str, str, object]]:
    user, customer, budget = f"u-{mark}", f"c-{mark}", f"b-{mark}"
    limits = {"max_budget": 1, "budget_duration": "1d", "tpm_limit": 100, "rpm_limit": 5}
    return [
        ("GET", "/health/liveliness", None),
        ("GET", "/health/readiness", None),
        ("GET", "/nope", None),
        ("GET", "/user/update", None),
        ("GET", f"/user/info?user_id={user}", None),
        ("GET", f"/v2/user/info?user_id={user}", None),
        ("POST", "/user/update", {"user_id": user, **limits, "models": ["gpt-small"], "metadata": {"tier": "free"}}),
        ("GET", f"/user/info?user_id={user}", None),
        ("GET", f"/v2/user/info?user_id={user}", None),
        ("POST", "/user/new", {"user_id": user, "auto_create_key": False}),
        ("POST", "/user/new", {"user_id": f"{user}-2", "auto_create_key": False, **limits}),
        ("POST", "/user/new", {"user_id": f"{user}-3", "user_role": "king", "auto_create_key": False}),
        ("POST", "/user/update", {"user_id": user, "max_budget": None, "rpm_limit": None, "models": []}),
        ("POST", "/user/update", {"max_budget": 1}),
        ("POST", "/user/update", {"user_id": user, "budget_duration": "1 day"}),
        ("POST", "/user/update", {"user_id": user, "max_budget": "x"}),
        ("POST", "/user/update", {"user_id": user, "rpm_limit": "x"}),
        ("POST", "/user/update", {"user_id": user, "rpm_limit": {}}),
        ("POST", "/user/update", {"user_id": user, "models": "gpt-small"}),
        ("POST", "/user/update", {"user_id": user, "metadata": []}),
        ("POST", "/user/update", {"user_id": 5}),
        ("POST", "/user/update", {"user_id": user, "blocked": True}),
        ("POST", "/budget/info", {"budgets": [budget]}),
        ("POST", "/budget/info", {"budgets": []}),
        ("POST", "/budget/update", {"budget_id": budget, "max_budget": 1}),
        ("POST", "/budget/update", {"max_budget": 1}),
        ("POST", "/budget/new", {"budget_id": budget, **limits}),
        ("POST", "/budget/new", {"budget_id": budget, **limits}),
        ("POST", "/budget/new", {"budget_id": f"{budget}-2", "max_budget": -1}),
        ("POST", "/budget/new", {"budget_id": f"{budget}-3", "budget_duration": "0d"}),
        ("POST", "/budget/update", {"budget_id": budget, "max_budget": None, "tpm_limit": None}),
        ("POST", "/budget/info", {"budgets": [budget, "nope"]}),
        ("GET", f"/customer/info?end_user_id={customer}", None),
        ("POST", "/customer/update", {"user_id": customer, "budget_id": budget}),
        ("POST", "/customer/update", {"budget_id": budget}),
        ("POST", "/customer/new", {"user_id": customer, "budget_id": "nope"}),
        ("POST", "/customer/new", {"user_id": customer, "budget_id": budget, "max_budget": 1}),
        ("POST", "/customer/new", {"user_id": customer, "budget_id": budget, "models": ["gpt-small"]}),
        ("POST", "/customer/new", {"user_id": customer, "budget_id": budget}),
        ("POST", "/customer/update", {"user_id": customer, "budget_id": budget, "models": ["all-proxy-models"]}),
        ("POST", "/customer/update", {"user_id": customer, "budget_id": None, "models": []}),
        ("POST", "/customer/update", {"user_id": customer, "budget_id": "nope"}),
        ("POST", "/customer/update", {"user_id": customer, "max_budget": 3}),
        ("GET", f"/customer/info?end_user_id={customer}", None),
        ("POST", "/v1/chat/completions", {"model": "gpt-small", "messages": MESSAGES, "user": customer}),
        ("POST", "/chat/completions", {"model": "nonsense", "messages": MESSAGES, "user": customer}),
        ("GET", "/v1/models", None),
    ]


@pytest.mark.needs_litellm
async def test_statuses_and_keys_are_equal(
    real_litellm: RealLiteLLM, aiohttp_server: Any, session: aiohttp.ClientSession
) -> None:
    server = await aiohttp_server(LiteLLMSandbox(KEY).application())
    sandbox_url = str(server.make_url("")).rstrip("/")
    differences = []
    for method, path, body in _calls(uuid.uuid4().hex[:8]):
        real = await _shape(session, real_litellm.url, real_litellm.master_key, method, path, body)
        ours = await _shape(session, sandbox_url, KEY, method, path, body)
        if real != ours:
            differences.append(f"{method} {path} {body}\n  real {real}\n  ours {ours}")
    assert not differences, "\n".join(differences)


@pytest.mark.needs_litellm
async def test_refused_keys_are_refused_alike(
    real_litellm: RealLiteLLM, aiohttp_server: Any, session: aiohttp.ClientSession
) -> None:
    server = await aiohttp_server(LiteLLMSandbox(KEY).application())
    sandbox_url = str(server.make_url("")).rstrip("/")
    for key in ("sk-wrong", ""):
        body = {"user_id": "u"}
        real = await _shape(session, real_litellm.url, key, "POST", "/user/update", body)
        assert real == await _shape(session, sandbox_url, key, "POST", "/user/update", body)


async def _shape(
    session: aiohttp.ClientSession, url: str, key: str, method: str, path: str, body: object
) -> tuple[int, object]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    json = {} if body is None else {"json": body}
    async with session.request(method, url + path, headers=headers, **json) as response:  # type: ignore[arg-type]  # JSON
        answer = await response.json()
    shape = _keys(answer)
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        shape = (shape, answer["error"]["type"], answer["error"]["code"], answer["error"]["param"])
    elif isinstance(answer, dict) and isinstance(answer.get("detail"), list):
        shape = (shape, [(one["type"], one["loc"], one["msg"]) for one in answer["detail"]])
    return response.status, shape


_ONLY_THE_REAL_ONE_KNOWS = {"mode", "max_input_tokens", "max_output_tokens", "provider_specific_fields"}


def _keys(value: object) -> object:
    """The keys at every depth; a list by its first element; of anything else only which kind it is."""
    if isinstance(value, dict):
        return {name: _keys(item) for name, item in value.items() if name not in _ONLY_THE_REAL_ONE_KNOWS}
    if isinstance(value, list):
        return [_keys(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__

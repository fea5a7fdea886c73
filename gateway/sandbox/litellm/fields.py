"""The fields of each route and their types; unknown ones are dropped, wrong ones refused as pydantic does. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.sandbox.litellm.refusal import invalid

Body = dict[str, object]

BUDGET = {
    "budget_id": "string", "max_budget": "float", "soft_budget": "float", "budget_duration": "string",
    "budget_reset_at": "string", "tpm_limit": "int", "rpm_limit": "int", "max_parallel_requests": "int",
}  # fmt: skip
BUDGETS = {"budgets": "list"}
USER_IDS = {"user_ids": "list"}
CUSTOMER_UPDATE = {
    "user_id": "string", "alias": "string", "blocked": "bool", "budget_id": "string", "max_budget": "float",
    "models": "list", "default_model": "string", "allowed_model_region": "string",
}  # fmt: skip
CUSTOMER_NEW = {**CUSTOMER_UPDATE, **BUDGET, "spend": "float"}
USER_UPDATE = {
    "user_id": "string", "user_email": "string", "user_alias": "string", "user_role": "string", "max_budget": "float",
    "budget_duration": "string", "tpm_limit": "int", "rpm_limit": "int", "max_parallel_requests": "int",
    "models": "list", "metadata": "dict", "spend": "float", "blocked": "bool",
}  # fmt: skip
USER_NEW = {**USER_UPDATE, "auto_create_key": "bool"}
KEY = {
    "user_id": "string", "key_alias": "string", "allowed_routes": "list", "metadata": "dict", "max_budget": "float",
    "end_user_budget_id": "string", "duration": "string", "key": "string", "budget_duration": "string",
}  # fmt: skip

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "float": (int, float), "int": (int,), "bool": (bool,), "list": (list,), "dict": (dict,),
}  # fmt: skip
_MESSAGES = {
    "string": "Input should be a valid string",
    "float": "Input should be a valid number",
    "int": "Input should be a valid integer",
    "bool": "Input should be a valid boolean",
    "list": "Input should be a valid list",
    "dict": "Input should be a valid dictionary",
}


def parse(raw: bytes) -> Body:
    """The JSON object of a body."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise invalid("json_invalid", ["body", 1], "JSON decode error") from exc
    if not isinstance(body, dict):
        raise invalid("model_attributes_type", ["body"], "Input should be a valid dictionary or object")
    return body


def read(body: Body, kinds: Mapping[str, str], *, required: str | None = None) -> Body:
    """The known fields that were sent, typed; null stays null."""
    if required is not None and required not in body:
        raise invalid("missing", ["body", required], "Field required")
    return {name: _typed(name, body[name], kind) for name, kind in kinds.items() if name in body}


def user_ids(body: Body) -> list[str]:
    """The `user_ids` of a /delete."""
    found = read(body, USER_IDS, required="user_ids")["user_ids"]
    return [str(each) for each in found] if isinstance(found, list) else []


def _typed(name: str, value: object, kind: str) -> object:
    if value is None:
        return None
    if isinstance(value, str) and kind in ("int", "float"):
        try:
            return int(value) if kind == "int" else float(value)
        except ValueError:
            what = "integer" if kind == "int" else "number"
            raise invalid(
                f"{kind}_parsing",
                ["body", name],
                f"Input should be a valid {what}, unable to parse string as {'an' if kind == 'int' else 'a'} {what}",
            ) from None
    if isinstance(value, float) and kind == "int" and value.is_integer():
        return int(value)
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise invalid(f"{kind}_type", ["body", name], _MESSAGES[kind])
    return float(value) if kind == "float" and isinstance(value, int | float) else value

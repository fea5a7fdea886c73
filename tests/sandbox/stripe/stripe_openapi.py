"""Holds requests and answers of the sandbox against Stripe's published API schema; `guard` hooks it in.

The schema is taken strictly: an object of it may have no property that the schema does not name.
"""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jsonschema
import stripe
from aiohttp import web
from aiohttp.typedefs import Handler

_FILE = Path(__file__).parents[2] / "data" / "stripe-openapi-2026-10-28.endive.json"
# Calls that this subset of the schema does not have. Their answers are held against the schema of the object where it
# has that, else against the types of Stripe's own library; the account's shape is checked by hand in a test.
UNPUBLISHED = {
    "/v1/account",
    "/v1/charges",
    "/v1/charges/{}",
    "/v1/charges/{}/refunds",
    "/v1/customers/{}/subscriptions",
    "/v1/invoices/{}/lines",
    "/v1/invoices/{}/mark_uncollectible",
    "/v1/refunds",
    "/v1/refunds/{}",
    "/v1/disputes",
    "/v1/disputes/{}",
    "/v1/disputes/{}/close",
    "/v1/radar/early_fraud_warnings",
    "/v1/radar/early_fraud_warnings/{}",
    "/v2/core/event_destinations",
}
_OF_THE_LIBRARY = {"charge": stripe.Charge, "radar.early_fraud_warning": stripe.radar.EarlyFraudWarning}


@cache
def document() -> dict[str, Any]:
    """The published schema."""
    loaded: dict[str, Any] = json.loads(_FILE.read_text())
    return loaded


@cache
def _closed() -> dict[str, Any]:
    """Its components, with every object that lists properties closed to others."""
    components = copy.deepcopy(document()["components"])
    _close(components)
    return {"components": components}


def _close(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _close(item)
    elif isinstance(node, dict):
        for item in node.values():
            _close(item)
        if isinstance(node.get("properties"), dict) and "type" in node and node["type"] != "string":
            node.setdefault("additionalProperties", False)


def problems(schema: dict[str, Any], value: object) -> list[str]:
    """What is wrong with a value, in words; empty when it fits."""
    strict = copy.deepcopy(schema)
    _close(strict)
    validator = jsonschema.Draft202012Validator({**strict, **_closed()})
    return [f"{'.'.join(map(str, error.absolute_path))}: {_short(error)}" for error in validator.iter_errors(value)]


def _short(error: jsonschema.ValidationError) -> str:
    """The deepest reason, since "not valid under any of the given schemas" helps nobody."""
    while error.context:
        error = max(error.context, key=lambda each: len(each.absolute_path))
    return f"{'.'.join(map(str, error.absolute_path))} {error.message[:300]}"


def object_problems(value: dict[str, Any]) -> list[str]:
    """What is wrong with an object by its own `object` name; lists and deleted objects included."""
    name = value.get("object", "?")
    if name == "list":
        return [problem for each in value["data"] for problem in object_problems(each)]
    if name in _OF_THE_LIBRARY:
        return _library_problems(_OF_THE_LIBRARY[name], value)
    if value.get("deleted"):
        name = "deleted_object"
    if name not in document()["components"]["schemas"]:
        return [f"no schema is called {name}"]
    return problems({"$ref": f"#/components/schemas/{name}"}, value)


def _library_problems(kind: type, value: dict[str, Any]) -> list[str]:
    """Fields that Stripe's library does not know, lacks, or does not allow to be null; one level deep."""
    types = {name: str(annotation) for name, annotation in kind.__annotations__.items() if name[0].islower()}
    strange = [f"{name} is no field of {kind.__name__}" for name in value.keys() - types.keys()]
    needed = {name for name, annotation in types.items() if not re.search("Optional|None", annotation)}
    return strange + [f"{kind.__name__}.{name} is missing" for name in needed if value.get(name) is None]


def operation(method: str, path: str) -> dict[str, Any] | None:
    """The published operation behind a request; fixed words win over ids."""
    for template, methods in sorted(document()["paths"].items(), key=lambda each: each[0].count("{")):
        pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
        if re.fullmatch(pattern, path) and method.lower() in methods:
            found: dict[str, Any] = methods[method.lower()]
            return found
    return None


def request_schema(method: str, published: dict[str, Any]) -> dict[str, Any]:
    """The schema of an operation's parameters, wherever they stand."""
    if method == "POST":
        found: dict[str, Any] = published["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
        return found
    query: dict[str, Any] = published.get("x-query", {"type": "object", "properties": {}})
    return query


def typed(schema: dict[str, Any], value: Any) -> Any:
    """Form values are text: read them as the schema's types, keeping as text whatever cannot be read so."""
    if "anyOf" in schema:
        readings = [typed(each, value) for each in schema["anyOf"]]
        fitting = [r for each, r in zip(schema["anyOf"], readings, strict=True) if not problems(each, r)]
        return fitting[0] if fitting else value
    kind = schema.get("type")
    if isinstance(value, dict):
        if kind == "array":
            return [typed(schema.get("items", {}), value[key]) for key in sorted(value, key=int)]
        inner = schema.get("properties", {})
        return {key: typed(inner.get(key, {}), item) for key, item in value.items()}
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind in ("array", "object") and value == "":
        return [] if kind == "array" else {}
    return value


def nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The tree behind Stripe's bracketed names, read independently of the sandbox's own reader."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        steps = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        node = tree
        for step in steps[:-1]:
            node = node.setdefault(step or str(len(node)), {})
        node[steps[-1] or str(len(node))] = value
    return tree


class Guard:
    """Collects every disagreement with the schema; `checked` counts, so that a test can see it was not asleep."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.checked = 0

    def of_request(self, method: str, path: str, pairs: list[tuple[str, str]]) -> None:
        """A request the sandbox has accepted."""
        published = operation(method, path)
        if published is None:
            if not _is_unpublished(path):
                self.problems.append(f"{method} {path} is not in the API")
            return
        schema = request_schema(method, published)
        self.checked += 1
        self.problems += [
            f"{method} {path} was accepted with {each}" for each in problems(schema, typed(schema, nested(pairs)))
        ]

    def of_answer(self, method: str, path: str, status: int, body: bytes) -> None:
        """An answer of the sandbox."""
        published = operation(method, path)
        if status != 200:
            schema: dict[str, Any] = {"$ref": "#/components/schemas/error"}
        elif published is None:
            if path != "/v1/account":
                self.checked += 1
                self.problems += [f"{method} {path} answered {each}" for each in object_problems(json.loads(body))]
            return
        else:
            schema = published["responses"]["200"]["content"]["application/json"]["schema"]
        self.checked += 1
        self.problems += [f"{method} {path} answered {each}" for each in problems(schema, json.loads(body))]

    def of_event(self, event: dict[str, Any]) -> None:
        """A webhook payload in the newest shape, and the object in it."""
        self.checked += 1
        self.problems += [f"event {event['type']}: {each}" for each in problems(_EVENT, event)]
        self.problems += [f"event {event['type']} object: {each}" for each in object_problems(event["data"]["object"])]


def _is_unpublished(path: str) -> bool:
    return any(re.fullmatch(each.replace("{}", "[^/]+"), path) for each in UNPUBLISHED)


_EVENT = {"$ref": "#/components/schemas/event"}


def guard(application: web.Application) -> Guard:
    """Watch everything that passes under /v1 from now on."""
    watch = Guard()

    @web.middleware
    async def watching(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        rubbish = response.headers.get("Content-Type", "").startswith("text/html")
        if not request.path.startswith("/v1/") or not isinstance(response, web.Response) or rubbish:
            return response
        if request.transport is None or request.transport.is_closing():
            return response
        if response.status == 200:
            raw = request.rel_url.raw_query_string + "&" + (await request.read()).decode()
            pairs = parse_qsl(raw, keep_blank_values=True)
            watch.of_request(request.method, request.path, pairs)
        assert isinstance(response.body, bytes)
        watch.of_answer(request.method, request.path, response.status, response.body)
        return response

    application.middlewares.append(watching)
    return watch

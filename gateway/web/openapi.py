"""The OpenAPI document, generated from the route table and from the models that validate requests."""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

import gateway
from gateway.web.auth import Caller
from gateway.web.models import ErrorAnswer
from gateway.web.routes import API, Route

OPENAPI_PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"
# Caller → the security schemes that admit it.
_SECURITY: dict[Caller, list[dict[str, list[str]]]] = {
    "anyone": [],
    "app": [{"app_key": []}],
    "operator": [{"admin_token": []}],
    "app or operator": [{"app_key": []}, {"admin_token": []}],
    "buyer": [{"upgrade_link": []}],
    "returning buyer": [{"return_link": []}],
    "stripe": [{"stripe_signature": []}],
    "gate": [{"gate_secret": []}],
}
_SCHEMES = {
    "app_key": {"type": "http", "scheme": "bearer", "description": "An app's key: its api_key, or one made by skpay."},
    "admin_token": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN."},
    "gate_secret": {"type": "http", "scheme": "bearer", "description": "GATE_SECRET."},
    "upgrade_link": {"type": "http", "scheme": "bearer", "description": "The `t` of an upgrade link."},
    "return_link": {"type": "http", "scheme": "bearer", "description": "The `r` of the page that Stripe returns to."},
    "stripe_signature": {"type": "apiKey", "in": "header", "name": "Stripe-Signature"},
}


def openapi() -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    models = {model for route in API for model in (route.request, route.response) if model} | {ErrorAnswer}
    ordered = sorted(models, key=lambda model: model.__name__)
    requests = {route.request for route in API}
    _, schemas = models_json_schema(
        [(model, "validation" if model in requests else "serialization") for model in ordered], ref_template=_REF
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in API:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    paths[OPENAPI_PATH] = {
        "get": {"summary": "This document.", "operationId": "openapi", "responses": {"200": {"description": "OK"}}}
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "SKPayments", "version": gateway.__version__},
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {}), "securitySchemes": _SCHEMES},
    }


def _operation(route: Route) -> dict[str, Any]:
    refusals = {401, 403} if route.caller not in ("anyone", "stripe") else set()
    success = {"description": HTTPStatus(route.success).phrase, **_content(route)}
    operation: dict[str, Any] = {
        "summary": (route.handler.__doc__ or "").strip().splitlines()[0],
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}_{route.handler.__name__}",
        "responses": {str(route.success): success}
        | {
            str(status): {"description": HTTPStatus(status).phrase, "content": _json("ErrorAnswer")}
            for status in sorted({*route.errors, *refusals})
        },
    }
    if route.path == "/ready":
        operation["responses"]["503"]["content"] = _json("ReadyAnswer")
    if _SECURITY[route.caller]:
        operation["security"] = _SECURITY[route.caller]
    names = re.findall(r"{(\w+)}", route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if route.request is not None:
        operation["requestBody"] = {"required": True, "content": _json(route.request.__name__)}
    return operation


def _content(route: Route) -> dict[str, Any]:
    return {"content": _json(route.response.__name__)} if route.response else {}


def _json(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}


@cache
def document() -> bytes:
    """The document as served. Made once: it takes 40 ms, during which no other request is served."""
    return json.dumps(openapi()).encode()


async def serve_openapi(request: web.Request) -> web.Response:
    """This document."""
    return web.Response(body=document(), content_type="application/json", charset="utf-8")

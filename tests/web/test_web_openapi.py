"""The OpenAPI document: complete, valid, and matched by the running server."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31
from servers.running import ADMIN_TOKEN, SKAI_KEY, Running

from gateway.web.openapi import openapi
from gateway.web.server import web_application

DOCUMENT = openapi()
CONFORMANCE = [status_code_conformance, response_schema_conformance, content_type_conformance]
TOKEN = {"app_key": SKAI_KEY, "admin_token": ADMIN_TOKEN}


async def test_the_document_is_public(running: Running) -> None:
    assert await running.json("GET", "/openapi.json", None) == (200, DOCUMENT)


async def test_every_served_route_is_documented_and_nothing_else(running: Running) -> None:
    application = web_application(running.application.parts.billing, None)  # type: ignore[arg-type]  # routes only
    served = {
        (re.sub(r":[^}]+}", "}", route.resource.get_info().get("formatter") or route.resource.canonical), route.method)
        for route in application.router.routes()
        if route.resource is not None
    }
    documented = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served == documented


def test_it_is_a_valid_openapi_document() -> None:
    Draft202012Validator(OPENAPI_31).validate(DOCUMENT)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert references <= set(DOCUMENT["components"]["schemas"])
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_error_status_is_documented() -> None:
    checkout = DOCUMENT["paths"]["/checkout/{app_id}"]["post"]
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "429", "502", "503"} == set(checkout["responses"])
    assert checkout["security"] == [{"app_key": []}]
    assert DOCUMENT["paths"]["/health"]["get"].get("security") is None


def operations() -> list[Any]:
    return [
        (path, method)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
        if path != "/admin/reload"
    ]


# Schemathesis uses `random` within a strategy the first time it makes a case; what is made does not depend on it.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize(("path", "method"), operations())
async def test_the_server_answers_as_documented(running: Running, path: str, method: str) -> None:
    """Generated requests, good and bad: no 500, no undocumented status, every body of the documented shape."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation = schema[path][method.upper()]
    schemes = DOCUMENT["paths"][path][method].get("security") or [{}]
    token = next((TOKEN[name] for name in schemes[0] if name in TOKEN), running.link("u1"))
    headers = {"Authorization": f"Bearer {token}"}
    if path.startswith("/buy") and method == "post":
        headers["Origin"] = "https://pay.example.com"

    def fuzz() -> None:
        @settings(
            max_examples=8, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.headers = {key: value for key, value in (case.headers or {}).items() if key.isascii()} | headers
            if "app_id" in (case.path_parameters or {}):
                case.path_parameters["app_id"] = "skai"
            answer = case.call(base_url=running.url, timeout=10)
            assert answer.status_code != 500
            case.validate_response(answer, checks=CONFORMANCE)

        check()

    await asyncio.to_thread(fuzz)

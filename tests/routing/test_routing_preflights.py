"""Which preflights get a router: those for paths that the gate refuses to anonymous requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from access.access_samples import APP

from gateway.catalog.model import App, Route
from gateway.routing.preflights import preflight_rule

CORS = replace(APP, cors=("https://a.example", "https://b.example"), routes=())
START = (
    "Method(`OPTIONS`) && HeaderRegexp(`Access-Control-Request-Method`, `.`) && "
    "(Header(`Origin`, `https://a.example`) || Header(`Origin`, `https://b.example`)) && "
)
PRO = Route("/pro", min_tier="pro")


@pytest.mark.parametrize(
    ("app", "rule"),
    [
        (replace(CORS, cors=(), routes=(PRO,)), ""),
        (replace(CORS, enforce=False, routes=(PRO,)), ""),
        (CORS, ""),
        (replace(CORS, routes=(Route("/x", min_tier="free"), Route("/s", public=True))), ""),
        (replace(CORS, routes=(PRO,)), START + "((Path(`/pro`) || PathPrefix(`/pro/`)))"),
        (
            replace(CORS, routes=(Route("/", features=("images",), methods=("POST",)),)),
            START + "((PathPrefix(`/`)) && (Header(`Access-Control-Request-Method`, `POST`)))",
        ),
        (
            replace(CORS, routes=(PRO, Route("/pro/open", public=True), Route("/s", public=True))),
            START + "((Path(`/pro`) || PathPrefix(`/pro/`))) && !(Path(`/pro/open`) || PathPrefix(`/pro/open/`))",
        ),
        (
            replace(CORS, anonymous="refuse", routes=(Route("/s", public=True),)),
            START + "!(Path(`/s`) || PathPrefix(`/s/`))",
        ),
        (replace(CORS, anonymous="refuse"), START.removesuffix(" && ")),
    ],
)
def test_the_rule_covers_only_paths_refused_to_anonymous_requests(app: App, rule: str) -> None:
    assert preflight_rule(app) == rule

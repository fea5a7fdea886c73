"""A rule for one path of LiteLLM's holds for all paths of the same call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from access.access_samples import APP, with_app
from access.test_access_classes import class_of
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.authentication import ANONYMOUS, AuthenticatedUser
from gateway.access.classes import class_rules, has_class
from gateway.access.paths import read_path
from gateway.access.policy import Allow, Policy
from gateway.catalog.identity import LiteLLMKeyIdentity
from gateway.catalog.model import App, Route

ALICE = AuthenticatedUser("alice", None)
# From the route table of LiteLLM 1.106.2: the paths that one and the same function answers.
CALLS: dict[str, tuple[str, ...]] = {
    "images": (
        "/images/generations", "/v1/images/generations", "/openai/deployments/a/images/generations",
        "/openai/deployments/a/b/images/generations",
    ),
    "edits": ("/images/edits", "/v1/images/edits", "/openai/deployments/a/images/edits"),
    "chat": (
        "/chat/completions", "/v1/chat/completions", "/engines/a/chat/completions", "/engines/a/b/c/chat/completions",
        "/openai/deployments/a/chat/completions", "/cursor/chat/completions",
    ),
    "completions": ("/completions", "/v1/completions", "/engines/a/completions", "/openai/deployments/a/completions"),
    "embeddings": ("/embeddings", "/v1/embeddings", "/engines/a/embeddings", "/openai/deployments/a/embeddings"),
    "responses": ("/responses", "/v1/responses", "/openai/v1/responses"),
    "one response": ("/responses/r1/cancel", "/v1/responses/r1/cancel", "/openai/v1/responses/r1/cancel"),
    "realtime": ("/realtime", "/v1/realtime", "/openai/v1/realtime"),
    "rerank": ("/rerank", "/v1/rerank", "/v2/rerank"),
    "files": ("/files", "/v1/files", "/azure/v1/files"),
    "batches": ("/batches/b/cancel", "/v1/batches/b/cancel", "/vertex_ai/v1/batches/b/cancel"),
    "speech": ("/audio/speech", "/v1/audio/speech"),
    "models": ("/models", "/v1/models"),
    "interactions": ("/interactions", "/v1beta/interactions"),
    "passed on to OpenAI": (
        "/v1/images/variations", "/openai/images/variations", "/openai_passthrough/v1/images/variations",
    ),
}  # fmt: skip


def litellm(*routes: Route) -> App:
    return with_app(identity=(LiteLLMKeyIdentity(),), routes=routes)


def passes(app: App, path: str, tier: str = "free") -> bool:
    return isinstance(Policy(app).decide(ALICE, tier, "POST", read_path(path)), Allow)


@pytest.mark.parametrize("paths", CALLS.values(), ids=CALLS)
def test_a_rule_for_one_path_holds_for_all_of_the_call(paths: Sequence[str]) -> None:
    for ruled in paths:
        if ruled.startswith(("/engines/", "/openai/deployments/", "/azure/", "/vertex_ai/")):
            continue  # for one model or provider only
        app = litellm(Route(ruled, min_tier="pro"))
        for path in paths:
            for spelling in (path, f"{path}/", path.upper(), f"/{path}", path.replace("/", "//", 1), f"{path}?a=b"):
                assert not passes(app, spelling), (ruled, spelling)
                assert passes(app, spelling, "pro")
        assert passes(app, "/health")
        assert passes(app, "/key/info")


@pytest.mark.parametrize("path", ["/v1", "/openai/v1"])
def test_a_rule_for_all_calls_holds_for_each(path: str) -> None:
    app = litellm(Route(path, min_tier="pro"))
    for paths in CALLS.values():
        for each in paths:
            if each != "/interactions":  # of v1beta
                assert not passes(app, each), each
    assert passes(app, "/health")
    assert passes(app, "/ui")


def test_a_rule_for_one_model_holds_for_that_one() -> None:
    app = litellm(Route("/openai/deployments/dear", min_tier="pro"))
    assert not passes(app, "/openai/deployments/dear/chat/completions")
    assert passes(app, "/openai/deployments/cheap/chat/completions")
    assert passes(app, "/v1/chat/completions")


def test_other_apps_have_no_such_paths() -> None:
    app = with_app(routes=(Route("/v1/images", min_tier="pro"),))
    assert passes(app, "/images/generations")
    assert len(Policy(app).rules) == 1


def test_what_is_public_is_so_under_each_path_but_where_a_paid_rule_may_hold() -> None:
    app = with_app(
        identity=(LiteLLMKeyIdentity(),), anonymous="refuse",
        routes=(Route("/v1/models", public=True), Route("/models/secret", min_tier="pro")),
    )  # fmt: skip
    policy = Policy(app)
    for path, is_open in (
        ("/v1/models", True), ("/models", True), ("/models/x", True), ("/v1/models/secret", False),
        ("/models/secret", False), ("/engines/models", False), ("/azure/v1/models", False), ("/health", False),
    ):  # fmt: skip
        assert isinstance(policy.decide(ANONYMOUS, "", "GET", read_path(path)), Allow) is is_open, path


def test_rules_for_two_paths_of_one_call_add_up() -> None:
    app = litellm(Route("/images", min_tier="pro"), Route("/v1/images", min_tier="max"))
    for path in CALLS["images"]:
        assert not passes(app, path, "pro")
        assert passes(app, path, "max")


def test_explain_names_each_route_once() -> None:
    app = litellm(Route("/v1/images", min_tier="pro"), Route("/v1/models", public=True))
    policy = Policy(app)

    def verdicts(path: str) -> list[tuple[str, str]]:
        return [(route.path, verdict) for route, verdict in policy.explain_routes("free", "POST", read_path(path))]

    assert verdicts("/openai/deployments/a/images/generations") == [("/v1/images", "fails")]
    assert verdicts("/models/x") == [("/v1/models", "opens")]
    assert verdicts("/health") == []


PARTS = ("v1", "openai", "engines", "deployments", "images", "Images", "x", "azure", "v2")
PATHS = st.lists(st.sampled_from(PARTS), max_size=5).map(lambda parts: "/" + "/".join(parts))
ROUTES = st.lists(
    st.builds(Route, PATHS, public=st.booleans(), min_tier=st.sampled_from(("pro", "max"))).map(
        lambda route: Route(route.path, public=True) if route.public else route
    ),
    max_size=3,
)


@given(routes=ROUTES, paths=st.lists(PATHS, max_size=12), tier=st.sampled_from(("free", "pro", "max")))
def test_two_requests_of_one_class_get_the_same_decision(routes: list[Route], paths: list[str], tier: str) -> None:
    """The plugin keeps one answer for each class."""
    policy = Policy(litellm(*routes))
    rules = class_rules(policy)
    decisions: dict[frozenset[tuple[int, str]], object] = {}
    for uri in paths:
        path = read_path(uri)
        if has_class(path):
            decision = policy.decide(ALICE, tier, "GET", path)
            assert decisions.setdefault(class_of(rules, "GET", uri), decision) == decision


@given(routes=ROUTES, path=PATHS)
def test_no_path_is_open_that_the_rules_themselves_close(routes: list[Route], path: str) -> None:
    closed = not isinstance(Policy(with_app(routes=tuple(routes))).decide(ALICE, "free", "GET", read_path(path)), Allow)
    only_paid = litellm(*(route for route in routes if not route.public))
    if closed:
        assert not passes(only_paid, path)


def test_the_sample_app_is_no_litellm() -> None:
    assert len(Policy(APP).rules) == len(APP.routes)

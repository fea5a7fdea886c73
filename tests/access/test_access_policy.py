"""May they: the rules restated by hand."""

from __future__ import annotations

import pytest
from access.access_samples import APP, FREE, MAX, PRO, STAFF, with_app
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.authentication import (
    ANONYMOUS,
    Administrator,
    AuthenticatedUser,
    AuthenticationOrLookup,
    RejectedCredential,
)
from gateway.access.paths import read_path
from gateway.access.policy import Allow, Decision, MethodRefused, Policy, SignInRequired, TierRequired, wants_page
from gateway.catalog.model import App, Route

ALICE = AuthenticatedUser("alice", None)
STALE = RejectedCredential("expired_token", "the session has expired", "cookie:token")
REFUSED = RejectedCredential("wrong_signature", "the token's signature does not verify", "authorization")


def decide(
    path: str,
    identity: AuthenticationOrLookup = ALICE,
    tier: str = "free",
    method: str = "GET",
    app: App = APP,
    preflight: bool = False,
) -> Decision:
    return Policy(app).decide(identity, tier, method, read_path(path), preflight=preflight)


def word(decision: Decision) -> str:
    """A decision as the tables below write it."""
    match decision:
        case Allow(tier, named, unenforced_outcome):
            instead = f" instead of {unenforced_outcome}" if unenforced_outcome else ""
            return f"{tier.tier_id}{'' if named else ' unnamed'}{instead}"
        case TierRequired(_, required, current):
            return f"402 {current.tier_id}->{required.tier_id if required else None}"
        case SignInRequired():
            return "401"
        case MethodRefused():
            return "405"


@pytest.mark.parametrize(
    # the outcome for users on free, pro, staff and max, for an anonymous one and for a rejected Bearer
    ("method", "path", "free", "pro", "staff", "top", "anonymous", "refused"),
    [
        ("GET", "/", "free", "pro", "staff", "max", "free unnamed", "401"),
        ("GET", "/pro", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("POST", "/pro/x?y", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/protected", "free", "pro", "staff", "max", "free unnamed", "401"),
        ("GET", "/pro/logo", "free", "pro", "staff", "max", "free unnamed", "free unnamed"),
        ("GET", "/pro/logo/x", "free", "pro", "staff", "max", "free unnamed", "free unnamed"),
        ("GET", "/pro/logos", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/pro/Logo", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/pro/logo%2f..%2fx", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/pro//logo", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/static/app.js", "free", "pro", "staff", "max", "free unnamed", "free unnamed"),
        ("GET", "/static/../pro", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/static/..%2fpro", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/static//app.js", "free", "pro", "staff", "max", "free unnamed", "401"),
        ("GET", "/video", "402 free->max", "402 pro->max", "staff", "max", "401", "401"),
        ("POST", "/upload", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("GET", "/upload", "free", "pro", "staff", "max", "free unnamed", "401"),
        ("HEAD", "/report", "402 free->max", "402 pro->max", "402 staff->max", "max", "401", "401"),
        ("POST", "/report", "free", "pro", "staff", "max", "free unnamed", "401"),
        ("GET", "/free", "free", "pro", "staff", "max", "free unnamed", "401"),
        ("TRACE", "/", "405", "405", "405", "405", "405", "405"),
        ("CONNECT", "/static", "405", "405", "405", "405", "405", "405"),
        ("OPTIONS", "/pro", "402 free->pro", "pro", "staff", "max", "401", "401"),
        ("BREW", "/pro", "402 free->pro", "pro", "staff", "max", "401", "401"),
    ],
)
def test_the_table(
    method: str, path: str, free: str, pro: str, staff: str, top: str, anonymous: str, refused: str
) -> None:
    outcomes = {tier: word(decide(path, ALICE, tier, method)) for tier in ("free", "pro", "staff", "max")}
    assert outcomes == {"free": free, "pro": pro, "staff": staff, "max": top}
    assert word(decide(path, ANONYMOUS, "", method)) == anonymous
    assert word(decide(path, REFUSED, "", method)) == refused
    # A cookie that does not verify is no cookie: the app must be able to show its sign-in page.
    assert word(decide(path, STALE, "", method)) == anonymous


@pytest.mark.parametrize(
    ("path", "anonymous", "refused"),
    [
        ("/", "401", "401"),
        ("/free", "401", "401"),
        ("/static/x", "free unnamed", "free unnamed"),
        ("/pro", "401", "401"),
    ],
)
def test_an_app_may_refuse_the_anonymous(path: str, anonymous: str, refused: str) -> None:
    app = with_app(anonymous="refuse")
    assert word(decide(path, ANONYMOUS, app=app)) == anonymous
    assert word(decide(path, REFUSED, app=app)) == refused
    assert word(decide(path, STALE, app=app)) == refused
    assert word(decide("/", app=app)) == "free"


@pytest.mark.parametrize(
    ("path", "known", "anonymous", "refused"),
    [
        ("/pro", "free instead of tier_required", "free unnamed instead of sign_in_required",
         "free unnamed instead of sign_in_required"),
        ("/", "free", "free unnamed", "free unnamed instead of sign_in_required"),
        ("/static", "free", "free unnamed", "free unnamed"),
    ],
)  # fmt: skip
def test_without_enforce_all_are_tagged_and_none_refused(path: str, known: str, anonymous: str, refused: str) -> None:
    app = with_app(enforce=False)
    outcomes = [word(decide(path, identity, "free", app=app)) for identity in (ALICE, ANONYMOUS, STALE, REFUSED)]
    assert outcomes == [known, anonymous, anonymous, refused]
    assert decide("/", method="TRACE", app=app) == MethodRefused()


WAITING = RejectedCredential("not_activated", "this account waits to be activated", "authorization")
UNSURE = RejectedCredential(
    "wrong_signature", "the token's signature does not verify", "cookie:token", app_may_accept=True
)


def test_an_account_that_waits_for_its_activation_is_anonymous() -> None:
    """Its page says so, and needs the app's unpaid paths; it sends its session as a Bearer as well."""
    assert word(decide("/", WAITING)) == "free unnamed"
    assert word(decide("/pro", WAITING)) == "401"
    assert word(decide("/", WAITING, app=with_app(anonymous="refuse"))) == "401"


def test_a_credential_that_the_app_may_accept_is_not_served_as_anonymous() -> None:
    assert word(decide("/", UNSURE)) == "401"
    assert word(decide("/static/x", UNSURE)) == "free unnamed"


ADMIN = Administrator("root", None)


@pytest.mark.parametrize("path", ["/", "/pro", "/video", "/pro%2fx", "/static"])
@pytest.mark.parametrize("tier", ["free", "pro", "gone"])
def test_administrators_pass_every_rule_with_their_own_tier(path: str, tier: str) -> None:
    assert decide(path, ADMIN, tier) == Allow(PRO if tier == "pro" else FREE, named=True)
    assert decide(path, ADMIN, tier, "TRACE") == MethodRefused()


def test_a_preflight_passes_as_anonymous() -> None:
    app = with_app(anonymous="refuse")
    assert decide("/pro", ANONYMOUS, "", "OPTIONS", app, preflight=True) == Allow(FREE, named=False)
    assert word(decide("/pro", ANONYMOUS, "", "GET", app, preflight=True)) == "401"


def test_a_tier_by_a_former_id_and_one_that_is_no_more() -> None:
    assert decide("/pro", tier="plus") == Allow(PRO, named=True)
    assert decide("/", tier="gone") == Allow(FREE, named=True)
    assert decide("/pro", tier="gone") == TierRequired("alice", PRO, FREE)


def test_where_no_tier_is_enough_none_is_named() -> None:
    app = with_app(tiers=(FREE, PRO), routes=(Route("/x", features=("video",)),))
    assert decide("/x", tier="pro", app=app) == TierRequired("alice", None, PRO)


def test_a_tier_that_is_not_for_sale_is_named_only_if_no_other_will_do() -> None:
    app = with_app(tiers=(FREE, PRO, STAFF), routes=(Route("/x", features=("video",)),))
    assert decide("/x", tier="pro", app=app) == TierRequired("alice", STAFF, PRO)
    assert decide("/video", tier="pro") == TierRequired("alice", MAX, PRO)


def test_rules_add_up_and_only_a_deeper_public_one_opens() -> None:
    app = with_app(routes=(
        Route("/a", min_tier="max"), Route("/a/b", min_tier="pro"), Route("/a", public=True),
        Route("/a/b/c", public=True, methods=("GET",)),
    ))  # fmt: skip
    assert word(decide("/a/b", tier="pro", app=app)) == "402 pro->max"
    assert word(decide("/a", tier="free", app=app)) == "402 free->max"
    assert word(decide("/a/b/c", tier="free", app=app)) == "free"
    assert word(decide("/a/b/c", tier="free", method="POST", app=app)) == "402 free->max"


@pytest.mark.parametrize("path", ["/a//b", "/a;b", "/caf\u00e9", "/a%2fb"])
def test_a_rule_that_can_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="more than one way"):
        Policy(with_app(routes=(Route(path, public=True),)))


def test_a_rule_for_a_tier_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no tier gold"):
        Policy(with_app(routes=(Route("/x", min_tier="gold"),)))


@pytest.mark.parametrize(
    ("path", "method", "tier", "verdicts"),
    [
        ("/", "GET", "pro", []),
        ("/pro", "GET", "pro", [("/pro", "passes")]),
        ("/pro", "GET", "free", [("/pro", "fails")]),
        ("/pro/logo/x", "GET", "free", [("/pro", "fails"), ("/pro/logo", "opens")]),
        ("/pro%2flogo", "GET", "free", [("/pro", "fails")]),
        ("/PRO/LOGO", "GET", "free", [("/pro", "fails")]),
        ("/upload", "GET", "free", []),
        ("/upload", "PUT", "free", [("/upload", "fails")]),
        ("/report", "HEAD", "pro", [("/report", "fails")]),
        ("/video", "GET", "staff", [("/video", "passes")]),
        ("/static/x", "GET", "free", [("/static", "opens")]),
    ],
)
def test_the_verdict_of_each_route(path: str, method: str, tier: str, verdicts: list[tuple[str, str]]) -> None:
    judged = Policy(APP).explain_routes(tier, method, read_path(path))
    assert [(route.path, verdict) for route, verdict in judged] == verdicts


def test_a_public_route_above_a_paid_one_is_too_shallow() -> None:
    app = with_app(routes=(Route("/a", public=True), Route("/a/b", min_tier="pro"), Route("/a/b/c", public=True)))
    judged = Policy(app).explain_routes("free", "GET", read_path("/a/b/c"))
    assert [verdict for _, verdict in judged] == ["too shallow", "fails", "opens"]


PATHS = st.text("/.%25cfFprostaic;\\_-", max_size=20).map(lambda text: "/" + text)


@given(PATHS, st.sampled_from(["GET", "POST", "OPTIONS"]), st.booleans())
def test_no_unauthenticated_request_passes_a_paid_path(path: str, method: str, preflight: bool) -> None:
    paid = with_app(routes=(Route("/", min_tier="pro"), Route("/static", public=True)))
    for identity in (ANONYMOUS, STALE, REFUSED, WAITING):
        decision = decide(path, identity, "max", method, paid, preflight)
        if isinstance(decision, Allow):
            assert not decision.named
            assert decision.tier == FREE
            assert (preflight and method == "OPTIONS") or path.startswith("/static")


@given(PATHS, st.sampled_from(["free", "pro", "staff", "max"]))
def test_a_higher_tier_opens_no_less(path: str, tier: str) -> None:
    order = ["free", "pro", "staff", "max"]
    if isinstance(decide(path, tier=tier), Allow):
        features = [APP.tier(name).features for name in order[order.index(tier) :]]  # type: ignore[union-attr]  # ours
        assert features
        assert isinstance(decide(path, tier="max"), Allow)


@pytest.mark.parametrize(
    ("method", "accept", "mode", "page"),
    [
        ("GET", "text/html,application/xhtml+xml", "navigate", True),
        ("POST", "text/html", "navigate", True),
        ("GET", "text/html", "cors", False),
        ("GET", "text/html", "no-cors", False),
        ("GET", "TEXT/HTML", "", True),
        ("HEAD", "text/html", "", True),
        ("POST", "text/html", "", False),
        ("GET", "*/*", "", False),
        ("GET", "", "", False),
        ("GET", "application/json", "", False),
    ],
)
def test_browser_or_program(method: str, accept: str, mode: str, page: bool) -> None:
    assert wants_page(method, accept, mode) is page


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("POST", "402 free->pro"),
        ("FOO", "402 free->pro"),
        ("PROPFIND", "402 free->pro"),
        ("PURGE", "free"),
        ("GET", "free"),
    ],
)
def test_an_unknown_method_requires_what_every_method_requires(method: str, expected: str) -> None:
    """A rule for PURGE makes that a known method; no rule for POST lets FOO pass where POST would not."""
    app = with_app(routes=(
        Route("/upload", min_tier="pro", methods=("POST",)), Route("/cache", min_tier="max", methods=("PURGE",)),
    ))  # fmt: skip
    assert word(decide("/upload", tier="free", method=method, app=app)) == expected
    assert word(decide("/upload", tier="pro", method=method, app=app)) == "pro"
    assert word(decide("/", tier="free", method=method, app=app)) == "free"


def test_an_unknown_method_opens_nothing() -> None:
    app = with_app(routes=(Route("/a", min_tier="pro"), Route("/a/b", public=True, methods=("GET",))))
    assert word(decide("/a/b", tier="free", method="GET", app=app)) == "free"
    assert word(decide("/a/b", tier="free", method="FOO", app=app)) == "402 free->pro"

"""The law that lets answers be kept: two requests of one class get the same decision."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from access.access_samples import APP, with_app
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.authentication import ANONYMOUS, AuthenticatedUser, AuthenticationOrLookup
from gateway.access.classes import ClassRule, class_rules, has_class
from gateway.access.paths import read_path
from gateway.access.policy import UPGRADE_PATH, Policy
from gateway.catalog.model import Route

# The plugin caches no answer for any other: rules for every method apply to an unknown one.
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "TRACE", "PATCH")
PARTS = ("pro", "Pro", "x", "..", "")
PLAIN_PATHS = [f"/{first}{rest}" for first in PARTS for rest in ("", *(f"/{part}" for part in PARTS))]
REQUESTS = [(method, path) for method in METHODS for path in (*PLAIN_PATHS, "/.skpayments", UPGRADE_PATH)]
RULE_PARTS = st.sampled_from(("pro", "Pro", "x", "%70ro", ".skpayments"))  # %70 is a `p`
RULE_PATHS = st.lists(RULE_PARTS, max_size=2).map(lambda parts: "/" + "/".join(parts))
ROUTES = st.lists(
    st.builds(
        Route,
        RULE_PATHS,
        public=st.booleans(),
        min_tier=st.sampled_from((None, "free", "pro", "max")),
        features=st.sampled_from(((), ("images",), ("video",))),
        methods=st.sampled_from(((), ("GET",), ("HEAD",), ("POST", "PUT"))),
    ).map(lambda route: Route(route.path, public=True, methods=route.methods) if route.public else route),
    max_size=5,
)
PEOPLE = st.sampled_from((ANONYMOUS, AuthenticatedUser("alice", None)))
TIERS = st.sampled_from(("", "free", "pro", "staff", "max", "plus"))


def class_of(rules: Sequence[ClassRule], method: str, path: str) -> frozenset[tuple[int, str]]:
    """What the plugin computes, from nothing but the rules as they are sent."""
    literal = path if path.endswith("/") else path + "/"
    met: set[tuple[int, str]] = set()
    for number, rule in enumerate(rules):
        if (not rule.methods or method in rule.methods) and rule.within in literal.lower():
            met |= {(number, "path")} if literal.startswith(rule.path) else set()
            met |= {(number, "folded")} if literal.lower().startswith(rule.folded) else set()
    return frozenset(met)


@given(routes=ROUTES, enforce=st.booleans(), anonymous=st.sampled_from(("tag", "deny")), identity=PEOPLE, tier=TIERS)
def test_two_requests_of_one_class_get_the_same_decision(
    routes: list[Route], enforce: bool, anonymous: str, identity: AuthenticationOrLookup, tier: str
) -> None:
    policy = Policy(with_app(routes=tuple(routes), enforce=enforce, anonymous=anonymous))
    rules = class_rules(policy)
    decisions: dict[frozenset[tuple[int, str]], object] = {}
    for method, uri in REQUESTS:
        path = read_path(uri)
        if not has_class(path):
            continue
        decision = policy.decide(identity, tier, method, path)
        assert decisions.setdefault(class_of(rules, method, uri), decision) == decision


def test_the_rules_of_the_sample_app() -> None:
    assert class_rules(Policy(APP)) == [
        ClassRule("/pro/", "/pro/", ()),
        ClassRule("/pro/logo/", "/pro/logo/", ()),
        ClassRule("/video/", "/video/", ()),
        ClassRule("/upload/", "/upload/", ("POST", "PUT")),
        ClassRule("/report/", "/report/", ("GET", "HEAD")),
        ClassRule("/static/", "/static/", ()),
        ClassRule("/free/", "/free/", ()),
        ClassRule("/.skpayments/", "/.skpayments/", ()),
        ClassRule("/", "/", ("CONNECT", "TRACE", "TRACK")),
    ]


def test_a_rule_is_sent_in_its_normal_form_and_folded() -> None:
    rule, *_ = class_rules(Policy(with_app(routes=(Route("/API/a%20b%58", min_tier="pro"),))))
    assert (rule.path, rule.folded) == ("/API/a bX/", "/api/a bx/")


# As the plugin knows it, from the words of `access.classes`.
PART = r"[A-Za-z0-9_~!$&'()*+,=:@.-]*[A-Za-z0-9_~!$&'()*+,=:@-]"
PLAIN = re.compile(f"/(?:{PART}/)*(?:{PART})?")


@given(
    st.text(st.characters(max_codepoint=127), max_size=20) | st.text("ab./ ~$;%2e", max_size=8) | st.just("a" * 2047)
)
def test_a_path_that_is_plain_to_the_plugin_has_one_reading_at_the_gate(text: str) -> None:
    if PLAIN.fullmatch("/" + text):
        assert has_class(read_path("/" + text))


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("/a/b?c=d", True),
        ("/", True),
        ("/.skpay", True),
        ("/a%20b", False),
        ("/%61", False),
        ("/a//b", False),
        ("/a/../b", False),
        ("/a/.", False),
        ("/a;b", False),
        ("/a./b", False),
        ("/é", False),
        ("/.skpayments", False),
        (UPGRADE_PATH, False),
        ("/.SKpayments/upgrade/now", False),
        ("/.skpayments/arrived", False),
    ],
)
def test_which_paths_have_a_class(uri: str, kept: bool) -> None:
    assert has_class(read_path(uri)) is kept

"""Which hosts a router's rule may serve: a rule that cannot be analysed may serve any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.doctor.rules import reach

HOST = "chat.example.com"


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        # Each request to the very name.
        ("Host(`chat.example.com`)", "whole"),
        ("Host(`CHAT.example.com`)", "whole"),
        ('Host("chat.example.com")', "whole"),
        ("Host(`a.b`) || Host(`chat.example.com`)", "whole"),
        ("Host(`a.b`, `chat.example.com`)", "whole"),
        ("(Host(`chat.example.com`))", "whole"),
        ("Host(`chat.example.com`) && !Host(`a.b`)", "whole"),
        ("HostSNI(`chat.example.com`)", "whole"),
        ("Host(`chat.example.com`) || Path(`/a`)", "whole"),
        # Some of those.
        ("Host(`chat.example.com`) && PathPrefix(`/old`)", "named"),
        ("Path(`/a`) && Host(`chat.example.com`)", "named"),
        ("Host(`chat.example.com`) && !Header(`a`, `b`)", "named"),
        ("(PathPrefix(`/a`) || PathPrefix(`/b`)) && Host(`chat.example.com`)", "named"),
        ("Host(`chat.example.com`) && Query(`a`, `)`)", "named"),
        # As one of whatever hosts.
        ("PathPrefix(`/`)", "any"),
        ("HostRegexp(`.+`)", "any"),
        ("HostRegexp(`^chat\\.`)", "any"),
        ("HostRegexp(`[`)", "any"),
        ("Host(`*.example.com`)", "any"),
        ("!Host(`a.b`)", "any"),
        ("HostSNI(`*`)", "any"),
        ("Header(`X-SK-Tier`, `pro`)", "any"),
        ("Host(`a.b`) || PathPrefix(`/x`)", "any"),
        # Not at all.
        ("Host(`a.b`)", "no"),
        ("Host(`xchat.example.com`)", "no"),
        ("Host(`*.com`)", "no"),
        ("HostRegexp(`^blog\\.`)", "no"),
        ("Host(`a.b`) && PathPrefix(`/`)", "no"),
        ("Host(`chat.example.com`) && Host(`a.b`)", "no"),
        ("!Host(`chat.example.com`)", "no"),
        ("!(Host(`chat.example.com`) || Path(`/a`))", "no"),
        ("Host(`a.b`) && (Host(`chat.example.com`) || Path(`/`))", "no"),
        # What cannot be read may be anything.
        ("", "any"),
        ("Host(`a.b`", "any"),
        ("Host(`a.b`) Host(`c.d`)", "any"),
        ("Host(a.b)", "any"),
        ("Host(`a.b`) & Path(`/`)", "any"),
        ("&& Host(`a.b`)", "any"),
    ],
)
def test_how_a_rule_serves_a_host(rule: str, how: str) -> None:
    assert reach(rule, HOST) == how


_MATCHER = st.sampled_from(
    ["Host(`chat.example.com`)", "Host(`a.b`)", "HostRegexp(`chat`)", "PathPrefix(`/`)", "Header(`a`, `b`)"]
)
_RULE = st.recursive(
    _MATCHER,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        inner.map(lambda rule: f"!({rule})"),
    ),
    max_leaves=6,
)
_HELD = {"Host(`chat.example.com`)": True, "Host(`a.b`)": False, "HostRegexp(`chat`)": True}


@given(_RULE, st.booleans(), st.booleans())
def test_a_rule_that_matches_some_request_always_serves_the_host(rule: str, path: bool, header: bool) -> None:
    """A rule reported to serve each of them does so. Python evaluates the same expression beside it."""
    matchers = {**_HELD, "PathPrefix(`/`)": path, "Header(`a`, `b`)": header}
    text = rule
    for matcher, matches in matchers.items():
        text = text.replace(matcher, str(matches))
    matched = eval(text.replace("&&", " and ").replace("||", " or ").replace("!", " not "))  # noqa: S307  # booleans
    how = reach(rule, HOST)
    assert not (matched and how == "no")
    assert not (not matched and how == "whole")


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    assert reach(text, HOST) in ("whole", "named", "any", "no")

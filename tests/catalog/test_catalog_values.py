"""What parse makes of values that may be written in more than one way."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.catalog import parse
from gateway.catalog.values import ascii_host, grace_seconds, route_path_problem, url_problem
from gateway.errors import ConfigError

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("chat.example.com", "chat.example.com"),
        ("CHAT.Example.COM", "chat.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        # As browsers do; IDNA 2003 would make another host of it, fass.example.
        ("faß.example", "xn--fa-hia.example"),
        ("日本語.example", "xn--wgv71a119e.example"),
    ],
)
def test_hosts_are_lower_case_ascii(written: str, host: str) -> None:
    assert ascii_host(written) == host


@pytest.mark.parametrize(
    ("text", "seconds"), [("0d", 0), ("45s", 45), ("10m", 600), ("12h", 43_200), ("7d", 604_800), ("90d", 7_776_000)]
)
def test_grace_is_seconds(text: str, seconds: int) -> None:
    assert grace_seconds(text) == seconds


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/?session_id={CHECKOUT_SESSION_ID}&x=1#top",
        "http://localhost:8080/x",
        "http://open_webui:8080",
        "http://[::1]:8080/",
    ],
)
def test_urls_that_are_fine(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize("path", ["/", "/a", "/api/v1/images", "/a.b/c~d", "/@x", "/...", "/a:b", "/.skpayments-x"])
def test_paths_that_are_fine(path: str) -> None:
    assert route_path_problem(path) is None


@UNHURRIED
@given(st.text(max_size=80))
def test_a_host_that_passes_is_safe_anywhere(text: str) -> None:
    try:
        host = ascii_host(text)
    except ValueError:
        return
    assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert ascii_host(host) == host


def problems(raw: bytes) -> tuple[str, ...]:
    """Every problem; any other error than ConfigError comes through."""
    try:
        parse(raw)
    except ConfigError as exc:
        return exc.problems
    return ()


@UNHURRIED
@given(st.binary(max_size=300))
@example(b'{"apps":[{"id":1}]}')
@example(b'{"apps":[[[]]],"routing":[]}')
def test_any_bytes_give_a_catalog_or_a_config_error(raw: bytes) -> None:
    assert all(line.isprintable() for line in problems(raw))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["id", "name", "hosts", "upstream", "identity", "urls", "tiers", "routes", "litellm", "api_key", "prices", "kind",
     "features", "limits", "path", "min_tier", "was", "secret", "price_id", "lookup_key", "mode", "user_id", "grace"]
)  # fmt: skip


@UNHURRIED
@given(
    st.recursive(
        _JSON | st.sampled_from(["openwebui", "pro", "free", "{user_id}", "/x"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6),
        max_leaves=40,
    )
)
def test_any_tree_of_our_words_gives_a_catalog_or_a_config_error(tree: object) -> None:
    for document in ({"apps": [tree]}, {"apps": tree}, {"apps": [], "routing": tree}):
        assert all(line.isprintable() for line in problems(json.dumps(document).encode()))

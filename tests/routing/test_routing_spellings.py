"""Law: every header that we take from a client is taken in every spelling, and only the name itself may stay."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_apps import PUBLIC_URL, apps_json

from gateway.catalog import parse
from gateway.routing import docker_labels, plan, traefik_document
from gateway.routing.spellings import any_of, every_spelling, other_spellings
from gateway.routing.traefik import STRIPPED_HEADERS

# The characters of a header's name (RFC 9110, token) that are no letters or digits.
SIGNS = "!#$%&'*+-.^_`|~"
NAMES = ["Remote-User", "X-Remote-User", "X-Api-Key", "Email", "X-Auth-Request-User", "Cf-Access-Jwt-Assertion", "A--B"]
between = st.text(SIGNS, max_size=3)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[str, str]:
    """A name, and the same words with other signs between and after them, in any case."""
    name = draw(st.sampled_from(NAMES))
    words = re.findall(r"\w+", name)
    text = "".join(word + draw(between) for word in words[:-1]) + words[-1] + draw(st.sampled_from(["", "_", "-."]))
    return name, draw(st.sampled_from([text, text.lower(), text.upper(), text.title()]))


@given(spelled())
def test_every_spelling_of_a_name_matches_and_the_name_itself_only_where_intended(pair: tuple[str, str]) -> None:
    name, other = pair
    assert re.search(any_of([every_spelling(name)]), other)
    assert bool(re.search(any_of([other_spellings(name)]), other)) is (other.lower() != name.lower())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["x{}", "{}x", "{}-x", "x-{}"])
def test_another_name_does_not_match(name: str, change: str) -> None:
    for pattern in (every_spelling(name), other_spellings(name)):
        assert not re.search(any_of([pattern]), change.format(name))


FAMILY = ["For", "Host", "Uri", "Method", "Prefix", "Proto", "Port", "Server", "Tls-Client-Cert"]


@pytest.mark.parametrize("last", FAMILY)
def test_of_the_forwarded_family_only_the_spelling_of_traefik_stays(last: str) -> None:
    kept = f"X-Forwarded-{last}"
    assert not re.search(STRIPPED_HEADERS, kept)
    for odd in (
        kept.replace("-", "_"), kept.replace("-", "."), kept.replace("-", "--"), f"X--Forwarded-{last}",
        f"X-Forwarded--{last}", f"X-Forwarded_{last}", f"X_Forwarded-{last}", f"XForwarded-{last}", f"{kept}_",
        f"X-Forwarded.{last}", f"X_.Forwarded-{last}",
    ):  # fmt: skip
        assert re.search(STRIPPED_HEADERS, odd), odd


def test_other_spellings_of_credential_headers_are_removed_by_both_gates_and_all_providers() -> None:
    tree = json.loads(apps_json([("blog", ["blog.example.com"])]))
    tree["apps"][0]["identity"] = [{"kind": "header", "name": "x-remote-user", "after": "sso@file"}]
    catalog = parse(json.dumps(tree).encode())
    forward_auth, asking = plan(catalog, PUBLIC_URL), plan(catalog, PUBLIC_URL, "plugin")
    forward = traefik_document(forward_auth, "s")["http"]["middlewares"]["sk-gate-blog"]["forwardAuth"]
    plugin = traefik_document(asking, "s")["http"]["middlewares"]["sk-gate-blog"]["plugin"]["skpayments"]
    label = docker_labels(forward_auth, "blog")[
        "traefik.http.middlewares.sk-gate-blog.forwardAuth.authResponseHeadersRegex"
    ]
    for pattern in (forward["authResponseHeadersRegex"], plugin["stripHeaders"], label.replace("$$", "$")):
        assert re.search(pattern, "X-Remote_user")
        assert re.search(pattern, "X.remote.user")
        assert not re.search(pattern, "X-Remote-User")
    assert label.replace("$$", "$") == forward["authResponseHeadersRegex"]
    assert "$" not in label.replace("$$", "")


def test_where_users_bring_litellm_keys_no_other_header_brings_one_past_the_gate() -> None:
    tree = json.loads(apps_json([("blog", ["blog.example.com"])]))
    tree["apps"][0] |= {"identity": [{"kind": "litellm_key"}], "litellm": {"mode": "customer"}}
    for tier in tree["apps"][0]["tiers"]:
        tier["limits"] = {}
    http = traefik_document(plan(parse(json.dumps(tree).encode()), PUBLIC_URL), "s")["http"]
    taken = http["middlewares"]["sk-gate-blog"]["forwardAuth"]["authResponseHeadersRegex"]
    for name in (
        "X-Litellm-Api-Key",
        "x_litellm_api_key",
        "Api-Key",
        "X-Goog-Api-Key",
        "Ocp-Apim-Subscription-Key",
        "litellm_user_api_key",
    ):
        assert re.search(taken, name), name
    assert not re.search(taken, "X-Api-Key")

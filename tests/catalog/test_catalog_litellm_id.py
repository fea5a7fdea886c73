"""The template of LiteLLM's user ids: from an app's user id to LiteLLM's, and the reverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.litellm_id import LiteLLMIdTemplate, template_problem


@pytest.mark.parametrize(
    ("text", "user_id", "litellm_id"),
    [
        ("{user_id}", "alice", "alice"),
        ("{app_id}:{user_id}", "alice", "skai:alice"),
        ("{user_id}@{app_id}", "alice", "alice@skai"),
        ("u-{user_id}", "{user_id}", "u-{user_id}"),
        ("{app_id}:{user_id}", "{app_id}", "skai:{app_id}"),
    ],
)
def test_a_user_id_is_put_in_its_place(text: str, user_id: str, litellm_id: str) -> None:
    template = LiteLLMIdTemplate.parse(text, "skai")
    assert template.litellm_id(user_id) == litellm_id
    assert template.user_id(litellm_id) == user_id


@pytest.mark.parametrize("litellm_id", ["blog:alice", "alice", "skai:", "", None, 7])
def test_an_id_that_the_template_does_not_make_has_no_user(litellm_id: object) -> None:
    assert LiteLLMIdTemplate.parse("{app_id}:{user_id}", "skai").user_id(litellm_id) is None


def test_prefix_and_suffix_do_not_overlap() -> None:
    assert LiteLLMIdTemplate("u", "u").user_id("u") is None


_WORDS = st.text("ab:|{}_", max_size=4)


@given(_WORDS, _WORDS, st.text(min_size=1, max_size=6))
def test_the_reverse_of_every_rendered_id_is_its_user(prefix: str, suffix: str, user_id: str) -> None:
    template = LiteLLMIdTemplate(prefix, suffix)
    assert template.user_id(template.litellm_id(user_id)) == user_id


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("{user_id}", True),
        ("{app_id}:{user_id}", True),
        ("a.b|c/{user_id}", True),
        ("{app_id}", False),
        ("{user_id}{user_id}", False),
        ("{app_id}{app_id}{user_id}", False),
        ("{user_id} x", False),
        ("{user_id}{other}", False),
        ("x" * 101 + "{user_id}", False),
    ],
)
def test_a_template_has_the_user_id_once_and_plain_literals(text: str, valid: bool) -> None:
    assert (template_problem(text) is None) is valid

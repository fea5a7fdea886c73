"""One rule says which text is a user's id; the API, the gate and LiteLLM's ids follow it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.user_id_mapping import UserIdMapping
from gateway.errors import InvalidInput, NotAuthenticated
from gateway.litellm import check_litellm_id
from gateway.user_ids import check_user_id, is_id


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("u1", True),
        ("a b", True),
        (" ", True),
        ("ü@例え", True),
        ("x" * 200, True),
        ("x" * 201, False),
        ("", False),
        ("a\nb", False),
        ("a\x00", False),
        ("a\u200b", False),
        ("\ud800", False),
        (None, False),
        (7, False),
        (b"u1", False),
    ],
)
def test_a_user_id_is_1_to_200_printable_characters(value: object, valid: bool) -> None:
    assert is_id(value) is valid


def _accepts(check: object, error: type[Exception], value: str) -> bool:
    try:
        check(value)  # type: ignore[operator]  # one of the three checks
    except error:
        return False
    return True


@given(st.text(max_size=3) | st.integers(195, 205).map(lambda size: "x" * size))
def test_the_api_and_the_gate_accept_the_same_ids(value: str) -> None:
    assert _accepts(check_user_id, InvalidInput, value) == is_id(value)
    assert _accepts(UserIdMapping().of, NotAuthenticated, value) == is_id(value)


@pytest.mark.parametrize("value", ["x" * 256, "a\nb", "", "\ud800"])
def test_litellm_accepts_no_id_that_is_not_printable_or_is_too_long(value: str) -> None:
    assert not is_id(value, 255)
    assert not _accepts(check_litellm_id, InvalidInput, value)


def test_an_id_is_returned_unchanged() -> None:
    assert check_user_id(" Alice ") == " Alice "


def test_a_namespace_counts_towards_the_length() -> None:
    assert UserIdMapping("idp").of("x" * 196) == "idp:" + "x" * 196
    assert not _accepts(UserIdMapping("idp").of, NotAuthenticated, "x" * 197)

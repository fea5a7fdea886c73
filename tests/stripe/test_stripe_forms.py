"""Form encoding, compared with the official library's."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from gateway.stripe.forms import encode


def test_nested_parameters_read_as_stripe_documents_them() -> None:
    params = {"mode": "subscription", "line_items": [{"price": "price_1", "quantity": 1}], "expand": ["a", "b"]}
    assert encode(params) == (
        "mode=subscription&line_items%5B0%5D%5Bprice%5D=price_1&line_items%5B0%5D%5Bquantity%5D=1"
        "&expand%5B0%5D=a&expand%5B1%5D=b"
    )


def test_booleans_none_and_empty_string_each_have_their_own_form() -> None:
    assert encode({"a": True, "b": False, "c": None, "d": ""}) == "a=true&b=false&d="


def test_a_float_is_refused_because_money_is_never_one() -> None:
    with pytest.raises(TypeError, match="unit_amount: float"):
        encode({"unit_amount": 1.5})


_KEYS = st.text("abcdef_", min_size=1, max_size=6)
_LEAVES = st.booleans() | st.integers() | st.text(max_size=8)
_PARAMS = st.dictionaries(
    _KEYS, st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3))
)


@given(_PARAMS)
def test_any_parameters_are_encoded_as_the_official_library_encodes_them(params: dict[str, object]) -> None:
    def flat(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    theirs = [(key, flat(value)) for key, value in _api_encode(params)]
    assert parse_qsl(encode(params), keep_blank_values=True) == theirs

"""Stripe's form encoding and the kinds of parameters."""

from __future__ import annotations

import pytest

from gateway.sandbox.stripe.form import decode
from gateway.sandbox.stripe.params import FLAG, METADATA, TEXT_KEPT, WHOLE, Hash, Many, OneOf, Spec, Text, Whole
from gateway.sandbox.stripe.refusal import ApiError


def test_brackets_make_a_tree() -> None:
    """Names and values are percent-decoded, `+` is a blank."""
    raw = b"mode=subscription&line_items%5B0%5D%5Bprice%5D=price_1&metadata[a+b]=c%2Bd&items[0][tax_rates][]=x"
    assert decode(raw) == {
        "mode": "subscription",
        "line_items": {"0": {"price": "price_1"}},
        "metadata": {"a b": "c+d"},
        "items": {"0": {"tax_rates": {"0": "x"}}},
    }


def test_empty_brackets_count_up_and_the_last_of_equal_names_wins() -> None:
    assert decode(b"k[]=a&k[]=b&x=1&x=2&empty=") == {"k": {"0": "a", "1": "b"}, "x": "2", "empty": ""}


@pytest.mark.parametrize("raw", [b"a=%ff", b"a[b=1", b"a=1&a[b]=2", b"[a]=1"])
def test_what_is_not_a_form_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decode(raw)
    assert caught.value.status == 400


def test_lists_are_ordered_by_number_not_by_text() -> None:
    sent = b"&".join(b"x[%d]=%d" % (n, n) for n in reversed(range(12)))
    assert Spec({"x": Many(WHOLE)}).read(decode(sent)) == {"x": list(range(12))}


SPEC = Spec(
    {
        "name": TEXT_KEPT,
        "note": Text(longest=5),
        "limit": Whole(1, 100),
        "live": FLAG,
        "kind": OneOf("", "a", "b"),
        "metadata": METADATA,
        "items": Many(Hash({"price": TEXT_KEPT}, needs=("price",)), most=2),
    },
    needs=("name",),
)


def test_values_get_their_types_and_empty_unsets() -> None:
    sent = b"name=x&note=&limit=7&live=false&kind=&metadata[k]=v&items[0][price]=p"
    assert SPEC.read(decode(sent)) == {
        "name": "x",
        "note": None,
        "limit": 7,
        "live": False,
        "kind": None,
        "metadata": {"k": "v"},
        "items": [{"price": "p"}],
    }


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        ("note=x", "parameter_missing", "name"),
        ("name=x&items[0]=", None, "items[0]"),
        ("name=x&items[1][quantity]=1", "parameter_unknown", "items[1][quantity]"),
        ("name=x&items[5][price]=p&items[6]=", None, "items[6]"),
        ("name=x&items[a]=p", None, "items"),
        ("name=x&items[0][price]=a&items[1][price]=b&items[2][price]=c", None, "items"),
        ("name=x&surprise=1", "parameter_unknown", "surprise"),
        ("name=", "parameter_invalid_empty", "name"),
        ("name[a]=b", None, "name"),
        ("name=x&limit=ten", "parameter_invalid_integer", "limit"),
        ("name=x&limit=101", "parameter_invalid_integer", "limit"),
        ("name=x&limit=0", "parameter_invalid_integer", "limit"),
        ("name=x&live=1", None, "live"),
        ("name=x&kind=c", None, "kind"),
        ("name=x&note=toolong", None, "note"),
        ("name=x&metadata=1", None, "metadata"),
        (f"name=x&metadata[{'k' * 41}]=1", None, f"metadata[{'k' * 41}]"),
        (f"name=x&metadata[k]={'v' * 501}", None, "metadata[k]"),
        ("name=x&" + "&".join(f"metadata[k{n}]=1" for n in range(51)), None, "metadata"),
    ],
)
def test_each_wrong_parameter_is_named(sent: str, code: str | None, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        SPEC.read(decode(sent.encode()))
    assert (caught.value.status, caught.value.error_code, caught.value.param) == (400, code, param)


def test_unknown_parameters_are_all_listed() -> None:
    with pytest.raises(
        ApiError, match=r"^Received unknown parameters: foo, bar\[x\]$|^Received unknown parameters: foo"
    ):
        SPEC.read(decode(b"name=x&foo=1&bar[x]=2"))

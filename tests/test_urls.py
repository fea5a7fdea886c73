"""Vendor URLs: every id stays one segment or one value, whatever its characters."""

from __future__ import annotations

import ast
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import urls
from gateway.errors import InvalidInput

SOURCES = sorted((Path(__file__).parent.parent / "gateway").rglob("*.py"))
# No lone surrogates: they have no bytes in UTF-8, and no id that we take has one.
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


@given(_TEXT, st.lists(st.tuples(_TEXT, _TEXT), max_size=3))
def test_any_text_is_read_back_from_the_segment_and_the_value_that_it_was_put_into(
    segment: str, pairs: list[tuple[str, str]]
) -> None:
    if segment in (".", ".."):
        return
    url = urls.api_url("http://vendor.test/base/", urls.api_path("v1/things", segment, "undo"), urls.api_query(pairs))
    parts = urlsplit(str(url))
    assert parts.netloc == "vendor.test"
    assert [unquote(each) for each in parts.path.split("/")] == ["", "base", "v1", "things", segment, "undo"]
    assert parse_qsl(parts.query, keep_blank_values=True) == pairs
    assert "+" not in str(url)


def test_a_blank_is_percent_encoded_and_never_a_plus() -> None:
    assert urls.api_query([("user_id", "Ada Lovelace"), ("x[y]", "1+1")]) == "user_id=Ada%20Lovelace&x%5By%5D=1%2B1"


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_a_segment_that_would_name_another_folder_is_refused(segment: str) -> None:
    with pytest.raises(InvalidInput):
        urls.api_path("v1/customers", segment)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/cus_x/../refunds?",
        "/v1/..",
        "/v1/a b",
        "/v1//x",
        "v1/x",
        "/v1/x?y",
        "/v1/x#y",
        "/v1/./x",
        "/v1/%2e.",
        "/v1/%2E%2E",
    ],
)
def test_a_path_that_was_put_together_unquoted_is_never_sent(path: str) -> None:
    with pytest.raises(InvalidInput):
        urls.api_url("http://vendor.test", path)


def test_no_vendor_path_is_put_together_as_an_f_string() -> None:
    """`api_path` quotes every id; an f-string quotes none."""
    found = []
    for source in SOURCES:
        if "sandbox" in source.parts:
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                start = node.values[0] if node.values else None
                text = str(start.value) if isinstance(start, ast.Constant) else ""
                if text.startswith(("/v1/", "/v2/", "/zones/", "/accounts/", "/customer/info?", "/user/info?")):
                    found.append(f"{source}:{node.lineno}")
    assert found == []

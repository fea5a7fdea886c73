"""One cookie is found as the app finds it."""

from __future__ import annotations

from http import cookies as http_cookies

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.authentication import RejectedCredential
from gateway.access.cookies import REPEATED_HEADER_SEPARATOR, cookie_finder
from gateway.errors import NotAuthenticated

PIECES = (
    b"token", b"=", b";", b"; ", b" ", b"\t", b"\xa0", b"\x85", b"\x0b", b"\x1c", b'"', b"\\", b"\\101", b"\\400",
    b"a.b.c", b"d", b"Token", b"tokens", b"\xe9", b"\x00", REPEATED_HEADER_SEPARATOR,
)  # fmt: skip


def starlette(lines: bytes) -> dict[str, str]:
    """`request.cookies` of Starlette 1.10, restated: all Cookie lines in their order, later ones over earlier ones."""
    found: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\n"):
        for chunk in line.split(";"):
            key, value = chunk.split("=", 1) if "=" in chunk else ("", chunk)
            key, value = key.strip(), value.strip()
            if key or value:
                found[key] = http_cookies._unquote(value)  # type: ignore[attr-defined]  # what Starlette calls
    return found


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_the_last_cookie_is_the_one_that_starlette_takes(lines: bytes) -> None:
    expected = starlette(lines).get("token", "")
    found = cookie_finder("token", last_counts=True)(lines)
    assert (found or b"") == expected.encode("latin-1")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"a=1", b"1"),
        (b"b=2\na=1", b"1"),
        (b"b=2; a=", None),
        (b"b=a", None),
        (b"a", None),
    ],
)
def test_a_cookie_of_an_unknown_backend(lines: bytes, expected: bytes | None) -> None:
    assert cookie_finder("a")(lines) == expected


@pytest.mark.parametrize("lines", [b"a=1; a=2", b"a=1; a=1", b"a=1\na=2", b"a=; a=2", b"a=1; \xa0a=2"])
def test_two_cookies_of_one_name_are_refused_where_backends_differ(lines: bytes) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        cookie_finder("a")(lines)
    assert refused.value.code == "duplicate_cookie"


def test_a_cookie_with_escapes_longer_than_browsers_store_is_refused_and_not_signed_out() -> None:
    find = cookie_finder("token", last_counts=True)
    escaped = b'token="' + b"\\101" * 1022 + b'"'
    assert find(escaped) == b"A" * 1022
    with pytest.raises(NotAuthenticated) as refused:
        find(b'token="' + b"\\101" * 1024 + b'"')
    assert not RejectedCredential(refused.value.code, "", "cookie:token").signed_out

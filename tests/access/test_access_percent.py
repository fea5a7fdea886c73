"""Percent-decoding gives what the standard library gives."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from gateway.access.percent import percent_decode

PARTS = st.sampled_from(
    [b"%", b"%4", b"%41", b"%zz", b"=", b"==", b"=\n", b"%3D", b"%0a", b"\r\n", b" ", b"a", b"\xff"]
)


@given(st.one_of(st.binary(max_size=60), st.lists(PARTS, max_size=30).map(b"".join)))
def test_any_bytes_are_decoded_as_by_the_standard_library(raw: bytes) -> None:
    assert percent_decode(raw) == unquote_to_bytes(raw)

"""One path, as many ways to read it as there are apps."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.paths import Path, is_plain, normal, plain_path, read_path


@pytest.mark.parametrize(
    ("uri", "literal"),
    [
        ("/", "/"),
        ("/pro", "/pro/"),
        ("/pro/", "/pro/"),
        ("/pro?x=/../", "/pro/"),
        ("/a/b.c/d~e", "/a/b.c/d~e/"),
        ("/.well-known/x", "/.well-known/x/"),
        ("/my%20file", "/my file/"),
        ("/%70ro", "/pro/"),
        ("/a%2eb", "/a.b/"),
        ("/a:b@c,d=e+f!$&'()*", "/a:b@c,d=e+f!$&'()*/"),
        # odd: no literal reading, so nothing public matches
        ("//pro", None),
        ("/a//b", None),
        ("/static/..", None),
        ("/static/...", None),
        ("/static.", None),
        ("/static./x", None),
        ("/static%20/x", None),
        ("/static%2e%20", None),
        ("/static/" + "x" * 17_000, None),
        ("/static/../pro", None),
        ("/./pro", None),
        ("/static/%2e%2e/pro", None),
        ("/static/.%2E/pro", None),
        ("/static%2fx", None),
        ("/static%5Cx", None),
        ("/static\\x", None),
        ("/static;x/y", None),
        ("/static%3bx", None),
        ("/static%00", None),
        ("/static%0a", None),
        ("/static%252e", None),
        ("/static%", None),
        ("/static%zz", None),
        ("/static%3Fx", None),
        ("/static%23x", None),
        ("/static#x", None),
        ("/caf\u00e9", None),
        ("/caf%C3%A9", None),
        ("/static%ff", None),
    ],
)
def test_literal_readings(uri: str, literal: str | None) -> None:
    assert read_path(uri).literal == literal


@pytest.mark.parametrize(
    "uri",
    [
        "/pro", "/pro/x", "/PRO", "/%70ro", "/%50ro", "//pro", "/./pro", "/x/../pro", "/x/%2e%2e/pro", "/x/..%2fpro",
        "/x%2f..%2fpro", "/x%2F%2e%2E%2Fpro", "/x/..\\pro", "/x\\..\\pro", "/x%5c..%5cpro", "/%2fpro", "/%5cpro",
        "/x/..;/pro", "/x/..;a=b/pro", "/pro;x=y", "/pro;/z", "/pro%3bx", "/pro%00.png", "/p%00ro", "/pro%0d%0a",
        "/p%09ro", "/%2570ro", "/x/%252e%252e/pro", "/x%252f..%252fpro", "/%25252570ro", "/pro%3fx", "/pro%23x",
        "/pro#x", "/x/%c0%ae%c0%ae/pro", "/x%c0%af..%c0%afpro", "/\uff50\uff52\uff4f",
        "/%ef%bd%90ro", "/x%ef%bc%8f..%ef%bc%8fpro", "/x//../pro", "/x//..//pro", "/x/y/../../pro", "/../../pro",
        "/pro.", "/pro./x", "/pro%20", "/pro%20/x", "/PRO%2e.%20%2e/x", "/x/.. /pro",
    ],
)  # fmt: skip
def test_what_some_app_reads_as_pro_is_read_as_pro_among_others(uri: str) -> None:
    readings = read_path(uri).readings
    assert readings is not None
    assert any(reading.startswith("/pro/") for reading in readings)


@pytest.mark.parametrize("uri", ["/", "/protected", "/x/pro", "/static/pro.css", "/pro-x", "/x?/pro", "/%2570-ro"])
def test_a_path_that_no_app_reads_as_pro_is_free(uri: str) -> None:
    readings = read_path(uri).readings
    assert readings is not None
    assert not any(reading.startswith("/pro/") for reading in readings)


def test_what_is_too_odd_to_follow_may_be_anything() -> None:
    assert read_path("/" + "%2f" * 1000) == Path(None, None)
    wild = "/a;b/..;/%2525252e%5c/%00x//./%0a" * 5
    assert read_path(wild).literal is None


COSTLY = ["%252f", "a;b", "\\c", "%253b", "%2500", "%ef%bc%8f", "%c0%af", "/../", "./", "%2e%20", "x", "\uff0f"]


@given(st.lists(st.sampled_from(COSTLY), min_size=1, max_size=40), st.integers(1, 200))
def test_the_number_and_length_of_readings_are_bounded(parts: list[str], times: int) -> None:
    """A path that gets through in a thousand ways would hold up everybody else's requests: 12 ms before this bound."""
    uri = "/" + "".join(parts) * times
    readings = read_path(uri).readings
    assert readings is None or sum(map(len, readings)) <= max(8192 + 128, 2 * len(uri))


def test_no_path_takes_long() -> None:
    for uri in (
        "/" + "%25" * 680,
        "/" + "/.." * 680,
        "/" + "a;b/" * 500,
        "/" + "%2e%2e%5c" * 220,
        "/" + "\uff0f" * 2000,
    ):
        started = time.process_time()
        read_path(uri)
        assert time.process_time() - started < 0.25, uri[:20]


def test_normal_form() -> None:
    assert [normal(text) for text in ("", "/", "//", "a", "/a", "/a/", "//a//b/")] == [
        "/", "/", "/", "/a/", "/a/", "/a/", "/a/b/",
    ]  # fmt: skip


PART = st.text("abcXYZ019-_~", min_size=1, max_size=6)


@given(st.lists(PART, max_size=4))
def test_a_plain_path_has_one_reading(parts: list[str]) -> None:
    uri = "/" + "/".join(parts)
    assert read_path(uri) == Path(normal(uri), (normal(uri).lower(),))


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_the_plain_reading_and_the_decoded_one_are_always_among_them(text: str) -> None:
    for uri in ("/" + text.replace("?", ""), "/" + quote(text.replace("?", ""))):
        path = read_path(uri)
        assert path.readings is None or normal(uri.casefold()) in path.readings
        if path.literal is not None:
            assert path.literal.isascii()
            assert path.readings is not None
            assert path.literal.casefold() in path.readings


SPELLINGS = st.sampled_from(
    ["%70ro", "p%72o", "pr%6f", "PRO", "pro", "%2570ro", "pro;a", "pro%00", "./pro", "x/../pro", "x%2f..%2fpro", "/pro"]
)


@given(st.lists(st.sampled_from(["", ".", "x/..", "x/%2e%2e", "%2e", "y/..;", "..", "x\\.."]), max_size=3), SPELLINGS)
def test_detours_hide_nothing(detours: list[str], spelling: str) -> None:
    readings = read_path("/" + "/".join([*detours, spelling, "deep"])).readings
    assert readings is None or any(reading.startswith("/pro/") for reading in readings)


@given(st.text(alphabet="/.aB%?;+ \\~\x7f\xe9", max_size=12))
def test_a_plain_target_has_exactly_the_reading_that_the_careful_way_finds(text: str) -> None:
    target = "/" + text
    if is_plain(target.encode()):
        path = plain_path(target.encode())
        assert read_path(target) == path
        assert len(path.readings or ()) == 1
        assert not (path.literal or "").startswith("/.")


@pytest.mark.parametrize("target", ["/", "/a", "/a/", "/A.b/c~d?x=%2F//..", "/a?", "/a.b.c"])
def test_most_targets_are_plain(target: str) -> None:
    assert is_plain(target.encode())
    assert plain_path(target.encode()) == read_path(target)


@pytest.mark.parametrize(
    "target", ["", "a", "?", "//", "/.a", "/a.", "/a./b", "/a/.b", "/a/..", "/a b", "/a?b c", "/a\n"]
)
def test_others_are_not(target: str) -> None:
    assert is_plain(target.encode()) is None

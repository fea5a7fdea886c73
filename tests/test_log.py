"""Logs: one JSON object a line, secrets redacted by key and by shape at any depth, control characters never raw."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import log as logs
from gateway.access import links


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What `set_up` writes, with the root logger put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.set_up(stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(lines: io.StringIO, message: str = "happened", **fields: object) -> dict[str, Any]:
    logging.getLogger("gateway.test").info(message, extra=logs.fields(**fields))
    (line,) = lines.getvalue().splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


def test_a_line_is_one_object_with_its_fields(lines: io.StringIO) -> None:
    line = logged(lines, "tier_changed", app_id="skai", user_id="u1", **{"from": "free", "to": "pro"})
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "INFO", "event": "tier_changed", "logger": "gateway.test", "app_id": "skai", "user_id": "u1",
        "from": "free", "to": "pro",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\u2028b", "a\x00b", "\ud800"])
def test_t1_no_control_character_is_written_raw(lines: io.StringIO, text: str) -> None:
    line = logged(lines, text, user_id=text, nested={text: [text]})
    written = lines.getvalue()
    assert written.isascii()
    assert written.count("\n") == 1
    assert written[:-1].isprintable()
    assert (line["event"], line["user_id"], line["nested"]) == (text, text, {text: [text]})


@pytest.mark.parametrize(
    "key",
    ["secret", "STRIPE_SECRET_KEY", "password", "Authorization", "Cookie", "api_key", "apikey", "admin_token",
     "Stripe-Signature", "credentials"],
)  # fmt: skip
def test_a_secret_is_known_by_its_key_at_any_depth(lines: io.StringIO, key: str) -> None:
    line = logged(lines, headers=[{"deep": {key: "harmless looking"}}])
    assert line["headers"] == [{"deep": {key: "********"}}]


SHAPES = [
    "sk_test_51abcDEF", "sk_live_51abcDEF", "rk_live_abcdefgh", "whsec_abcdefgh", "sk-litellm-abcdef", "skp_Ab-_cdefgh",
    "ska_Ab-_cdefgh", "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUxIn0.c2lnbmF0dXJl", "https://checkout.stripe.com/c/pay/cs_test#x",
    "https://billing.stripe.com/p/session/x", links.sign(b"key", "skai", "u1", 0),
]  # fmt: skip


@pytest.mark.parametrize("secret", SHAPES)
def test_a_secret_is_known_by_its_shape_wherever_it_stands(lines: io.StringIO, secret: str) -> None:
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        logging.getLogger("x").exception(
            "bad %s!", secret, extra=logs.fields(detail=f"({secret})", deep=[{secret: secret}], raw=secret.encode())
        )
    assert secret not in lines.getvalue()
    assert "********" in lines.getvalue()
    assert len(lines.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://skpay:hunter2@db/skpay", "postgresql://********@db/skpay"),
        ("postgresql://skpay:hun@ter@2@db/skpay", "postgresql://********@db/skpay"),
        ("postgresql://:hunter2@db/skpay", "postgresql://********@db/skpay"),
        ("postgresql://db/skpay?user=a&password=hunter2&x=1", "postgresql://db/skpay?user=a&password=********&x=1"),
        ("Authorization: Bearer 0123456789abcdef", "Authorization: Bearer ********"),
        ("proxy-authorization: basic dXNlcjpwYXNz", "proxy-authorization: basic ********"),
        ("made whsec_C2FVsBQIhrsc+b5sS/spob7oDGHmq=.", "made ********."),
        ("GET /buy/skai?t=" + links.sign(b"k", "skai", "u1", 0), "GET /buy/skai?t=********"),
    ],
)
def test_what_stands_around_a_secret_stays(lines: io.StringIO, text: str, shown: str) -> None:
    assert logged(lines, detail=text)["detail"] == shown


@pytest.mark.parametrize(
    "text", ["tier_changed", "cus_123456789", "sub_123456789", "evt_1", "price_123456", "task_12345678", "risk-averse",
             "https://pay.example.com/x", "1.2.3", "bearer of news"],
)  # fmt: skip
def test_what_is_no_secret_is_shown(lines: io.StringIO, text: str) -> None:
    assert logged(lines, detail=text)["detail"] == text


def test_whatever_is_logged_is_json(lines: io.StringIO) -> None:
    deep: list[object] = []
    deep.append(deep)
    line = logged(lines, nan=float("nan"), infinity=float("inf"), number=1.5, none=None, some={3}, deep=deep)
    assert (line["nan"], line["infinity"], line["number"], line["none"], line["some"]) == ("nan", "inf", 1.5, None, [3])


def test_a_traceback_shows_no_local_variable(lines: io.StringIO) -> None:
    def inner() -> None:
        local = "the value of a local variable"
        raise RuntimeError(len(local))

    try:
        inner()
    except RuntimeError:
        logging.getLogger("x").exception("broke")
    written = lines.getvalue()
    assert "RuntimeError" in written
    assert "in inner" in written
    assert json.loads(written)["level"] == "ERROR"


def test_setting_up_twice_writes_each_line_once(lines: io.StringIO) -> None:
    logs.set_up(stream=lines)
    assert logged(lines)["event"] == "happened"


@given(st.from_regex(logs._SECRET_SHAPE))
def test_no_secret_is_overlooked_by_the_quick_look(text: str) -> None:
    assert not logs._SECRET_SHAPE.search(text) or logs._MAYBE_SECRET.search(text)

"""Tags, links, hosts, and an app made ready."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from access.access_samples import APP, FREE, NOW, OLD_SECRET, PRO, SECRETS, SESSION_REF, SESSION_SECRET, b64, session
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import links
from gateway.access.app_access import app_access
from gateway.access.authentication import AuthenticatedUser, RejectedCredential
from gateway.access.hosts import host_name
from gateway.access.tags import encode, tier_block, user_line
from gateway.catalog.model import Limits, Tier
from gateway.errors import BadSignature, ConfigError
from gateway.settings import Secret


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1f0c6a52-0e0b-4b58-9b7f-000000000000", b"1f0c6a52-0e0b-4b58-9b7f-000000000000"),
        ("a@b.c", b"a@b.c"),
        ("a b", b"a%20b"),
        ("a%20b", b"a%2520b"),
        ("a\r\nX-SK-Tier: max", b"a%0D%0AX-SK-Tier:%20max"),
        ("Zo\u00eb", b"Zo%C3%AB"),
        ("\"<>\\^`{|}~!#$&'()*+,/:;=?@[]", b"\"<>\\^`{|}~!#$&'()*+,/:;=?@[]"),
        ("\x7f\x00", b"%7F%00"),
    ],
)
def test_t1_tags_are_visible_ascii(text: str, written: bytes) -> None:
    assert encode(text) == written


@given(st.text())
def test_no_two_users_share_a_tag(text: str) -> None:
    written = encode(text)
    assert all(0x21 <= byte <= 0x7E for byte in written)
    assert unquote(written.decode()) == text


def test_tag_lines() -> None:
    both = Tier("pro", "Pro", 1, (), ("images", "a,b"), Limits(), internal=False)
    assert tier_block("skai", both) == b"X-SK-App: skai\r\nX-SK-Tier: pro\r\nX-SK-Features: images,a%2Cb\r\n"
    assert tier_block("skai", FREE) == b"X-SK-App: skai\r\nX-SK-Tier: free\r\nX-SK-Features: \r\n"
    assert user_line("a b") == b"X-SK-User: a%20b\r\n"
    assert PRO.features == ("images",)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("sk.test", "sk.test"),
        ("SK.Test", "sk.test"),
        ("sk.test.", "sk.test"),
        ("sk.test:443", "sk.test"),
        ("sk.test.:80", "sk.test"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.test", "a_b.test"),
        ("sk.test:", None),
        ("sk.test:x", None),
        ("sk.test:1234567", None),
        ("sk.test:80:80", None),
        ("sk.test..", None),
        ("sk..test", None),
        (".", None),
        ("", None),
        (" sk.test", None),
        ("sk.test/x", None),
        ("user@sk.test", None),
        ("sk.test\nsk.test", None),
        ("sk.test\n", None),
        ("s\u212a.test", None),
        ("[::1]", None),
    ],
)
def test_hosts(host: str, name: str | None) -> None:
    assert host_name(host) == name


KEY, OLD = b"k" * 32, b"o" * 32


def test_a_link_names_its_user_for_ten_minutes() -> None:
    token = links.sign(KEY, "skai", "Zo\u00eb 1", NOW)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert links.verify([KEY], token, "skai", NOW + 599) == "Zo\u00eb 1"
    assert links.verify([OLD, KEY], token, "skai", NOW) == "Zo\u00eb 1"
    with pytest.raises(BadSignature) as late:
        links.verify([KEY], token, "skai", NOW + 600)
    assert late.value.code == "link_expired"


@pytest.mark.parametrize("keys", [[], [OLD], [b""]])
def test_a_link_of_another_key_is_none(keys: list[bytes]) -> None:
    with pytest.raises(BadSignature) as refused:
        links.verify(keys, links.sign(KEY, "skai", "alice", NOW), "skai", NOW)
    assert refused.value.code == "bad_signature"


def test_a_link_is_for_one_app_and_needs_a_key() -> None:
    with pytest.raises(BadSignature):
        links.verify([KEY], links.sign(KEY, "skai", "alice", NOW), "blog", NOW)
    with pytest.raises(ValueError, match="key"):
        links.sign(b"", "skai", "alice", NOW)


def test_an_unsigned_or_changed_link_is_refused() -> None:
    _, payload, mac = links.sign(KEY, "skai", "alice", NOW).split(".")
    forged = b64(b'["skai", "mallory", 9999999999]')
    # a session token signed with the same key is no link: what is signed names its purpose
    for text in (
        "", "1", "1..", f"2.{payload}.{mac}", f"1.{payload}.", f"1.{forged}.{mac}", f"1.{payload}={mac}",
        f"1.{payload}.{mac}=", f"1.{payload}.{mac}.", f"1.{payload}.\u00e9", "1." + "A" * 9000 + "." + mac,
        session("alice", secret=KEY.decode()).decode(), f"1.{payload[:-1]}.{mac}",
    ):  # fmt: skip
        with pytest.raises(BadSignature) as refused:
            links.verify([KEY], text, "skai", NOW)
        assert refused.value.code == "bad_signature", text


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.text("abc-", min_size=1))
def test_links_bring_back_what_was_signed(user_id: str, app_id: str) -> None:
    assert links.verify([KEY], links.sign(KEY, app_id, user_id, NOW), app_id, NOW) == user_id


def test_an_app_without_its_secret_is_refused() -> None:
    for secrets in ({}, {SESSION_REF: ()}):
        with pytest.raises(ConfigError, match="missing or empty"):
            app_access(APP, secrets, {})


def test_an_empty_secret_verifies_nothing() -> None:
    for secrets in ((Secret(""),), (Secret("x"), Secret(""))):
        with pytest.raises(ValueError, match="not empty"):
            app_access(APP, {SESSION_REF: secrets}, {})


def test_t32_new_secrets_forget_every_token_and_the_same_ones_none() -> None:
    cookie = {b"Cookie": b"token=" + session("alice")}
    before = app_access(APP, SECRETS, {})
    assert before.identity.authenticate(cookie, NOW) == AuthenticatedUser("alice", NOW + 3600)
    same = app_access(APP, SECRETS, {}, before)
    assert sum(map(len, same.identity.credential_caches)) == 1
    rolled = app_access(APP, {SESSION_REF: (Secret(OLD_SECRET),)}, {}, same)
    assert sum(map(len, rolled.identity.credential_caches)) == 0
    assert isinstance(rolled.identity.authenticate(cookie, NOW), RejectedCredential)
    both = app_access(APP, {SESSION_REF: (Secret(OLD_SECRET), Secret(SESSION_SECRET))}, {}, rolled)
    assert both.identity.authenticate(cookie, NOW) == AuthenticatedUser("alice", NOW + 3600)

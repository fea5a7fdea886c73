"""Keys derived from GATE_SECRET and ADMIN_TOKEN: one for each purpose, and no signature tests a guess of the secret."""

from __future__ import annotations

import ast
import hashlib
import hmac
from itertools import combinations
from pathlib import Path

import pytest

import gateway
from gateway.access import links
from gateway.access.derived_keys import derived_keys
from gateway.access.header_echo_tokens import header_echo_keys
from gateway.access.links import link_keys
from gateway.errors import BadSignature
from gateway.settings import Secret
from gateway.stripe.ownership import signing_keys

NEW, OLD = Secret("n" * 40), Secret("o" * 40)
NOW = 1_800_000_000


def hkdf_sha256(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 by hand, for 32 bytes: extract with a salt of zeros, one block of expand."""
    extracted = hmac.digest(b"\x00" * 32, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def test_a_derived_key_is_hkdf_sha256_with_its_purpose() -> None:
    assert derived_keys((NEW, OLD), "upgrade link 2") == (
        hkdf_sha256(b"n" * 40, b"skpayments upgrade link 2"),
        hkdf_sha256(b"o" * 40, b"skpayments upgrade link 2"),
    )


def test_the_keys_of_all_purposes_differ_and_none_is_the_secret() -> None:
    every = [*link_keys((NEW,)), *header_echo_keys((NEW,)), *signing_keys((NEW,))]
    assert all(one != other for one, other in combinations([*every, b"n" * 40], 2))


def test_an_empty_secret_derives_no_key() -> None:
    with pytest.raises(ValueError, match="empty"):
        derived_keys((Secret(""),), "upgrade link 2")


def test_an_upgrade_link_is_no_oracle_for_the_gate_secret() -> None:
    token = links.sign(link_keys((NEW,))[0], "skai", "u1", NOW)
    with pytest.raises(BadSignature):
        links.verify([b"n" * 40], token, "skai", NOW)


def test_a_link_signed_with_the_old_secret_is_valid_while_it_is_rolled() -> None:
    token = links.sign(link_keys((OLD,))[0], "skai", "u1", NOW)
    assert links.verify(link_keys((NEW, OLD)), token, "skai", NOW) == "u1"
    with pytest.raises(BadSignature):
        links.verify(link_keys((NEW,)), token, "skai", NOW)


# Each compares or signs with a secret that is not ours to derive from, or derives a key itself.
REVEALED_TO_HMAC = {
    "stripe/ownership.py": "the former derivation, which still verifies customers signed by an earlier version",
    "stripe/signature.py": "Stripe's signature, made with Stripe's own secret",
    "web/auth.py": "a comparison of ADMIN_TOKEN with what was sent",
}


def test_no_module_signs_with_an_underived_secret() -> None:
    room = Path(gateway.__file__).parent
    found = set()
    for path in room.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("hmac.")
            if called and "reveal()" in ast.unparse(node):
                found.add(str(path.relative_to(room)))
    assert found == set(REVEALED_TO_HMAC)

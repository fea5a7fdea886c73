"""Which keys of a provider's key set may verify anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from access.access_samples import NOW
from access.oidc_provider import JWKS_URL, jwk, key_set, private
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from gateway.access.jwks import MAX_DOCUMENT_BYTES, KeyRing, read_keys


def names(*keys: dict[str, Any]) -> list[str | None]:
    """The ids of the keys that are taken, beside one good key that always is."""
    return [key.key_id for key in read_keys(key_set(*keys, jwk("ed25519", kid="good")))][:-1]


GOOD = [jwk("rsa"), jwk("p256"), jwk("p384"), jwk("p521"), jwk("ed25519")]


def test_every_type_of_key_and_the_algorithms_it_goes_with() -> None:
    fits = {key.key_id: {each for each in _ALGORITHMS if key.fits(each)} for key in read_keys(key_set(*GOOD))}
    assert fits == {
        "rsa": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
        "p256": {"ES256"},
        "p384": {"ES384"},
        "p521": {"ES512"},
        "ed25519": {"EdDSA"},
    }


_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "HS256", "none",
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        (jwk("rsa", use=None), True),
        (jwk("rsa", use=None, key_ops=["verify"]), True),
        (jwk("rsa", alg="PS512"), True),
        (jwk("rsa", x5c=["MIIB"], x5t="x", unknown=1), True),
        (jwk("rsa", use="enc"), False),
        (jwk("rsa", use=["sig"]), False),
        (jwk("rsa", key_ops=["encrypt"]), False),
        (jwk("rsa", key_ops="verify"), False),
        (jwk("rsa", alg="ES256"), False),
        (jwk("rsa", alg="HS256"), False),
        (jwk("rsa", alg="RSA-OAEP"), False),
        (jwk("rsa", alg=1), False),
        (jwk("rsa", kid=1), False),
        (jwk("rsa-1024"), False),
        (jwk("secp256k1"), False),
        (jwk("ed448"), False),
        (jwk("p256", alg="ES384"), False),
        (jwk("p256", crv="P-384"), False),
        (jwk("p256", x=jwk("p256-2")["x"]), False),  # not on the curve
        (jwk("p256", y=None), False),
        (jwk("p256", x=7), False),
        (jwk("ed25519", x="AAAA"), False),
        (jwk("ed25519", crv="X25519"), False),
        (jwk("rsa", e=None), False),
        (jwk("rsa", e="AQ"), False),  # 1: anything would verify
        (jwk("rsa", e="Ag"), False),
        (jwk("rsa", n="A" * 200_000), False),
        (jwk("rsa", n=jwk("rsa")["n"] * 5), False),
        (jwk("rsa", e="A" * 2000), False),
        (jwk("rsa", kty="oct", k="AAAA"), False),
        (jwk("rsa", kty=None), False),
        (jwk("rsa", kty=["RSA"]), False),
        # a published private key is compromised
        ({**RSAAlgorithm.to_jwk(private("rsa"), as_dict=True), "kid": "rsa"}, False),
    ],
)
def test_which_keys_are_accepted(key: dict[str, Any], taken: bool) -> None:
    assert len(names(key)) == taken


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"", "Expecting value"),
        (b"<html>", "Expecting value"),
        (b"[]", "not an object"),
        (b"{}", 'no list "keys"'),
        (b'{"keys":{}}', 'no list "keys"'),
        (b'{"keys":[]}', "no key that could verify"),
        (b'{"keys":[1,null,"x",[]]}', "no key that could verify"),
        (key_set(jwk("rsa", use="enc")), "no key that could verify"),
        (b'{"keys":[],"keys":[]}', "duplicate key"),
        (b'{"keys":[NaN]}', "NaN"),
        (b'{"keys":' + b"[" * 100_000, "nested too deep"),
        (b"\xff", "decode"),
        (key_set(*[jwk("ed25519")] * 65), "more than 64 keys"),
        (key_set(jwk("rsa", pad="x" * MAX_DOCUMENT_BYTES)), "larger than 256 KiB"),
    ],
    ids=lambda item: item if isinstance(item, str) else "document",  # some hold keys made for this run
)
def test_an_invalid_key_set_is_refused(document: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_keys(document)


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps({"keys": [text]}).encode()))
def test_any_bytes_are_keys_or_a_value_error(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever is wrong with them
        read_keys(document)


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=50) | st.lists(st.text(max_size=3), max_size=3)


@given(
    st.dictionaries(st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "x", "y", "crv", "key_ops", "d"]), _VALUES),
    st.sampled_from(["RSA", "EC", "OKP", "oct"]),
    st.sampled_from(["P-256", "Ed25519", "P-521", "x"]),
)
def test_no_key_however_strange_is_an_error_of_ours(key: dict[str, Any], kty: str, curve: str) -> None:
    assert len(names({"kty": kty, "crv": curve, **key})) <= 1


def test_a_key_ring_is_reread_after_a_minute_at_the_earliest() -> None:
    ring = KeyRing(JWKS_URL)
    assert ring.may_refetch(NOW)
    ring.tried(NOW)
    assert [ring.may_refetch(NOW + seconds) for seconds in (0, 59, 60, -1)] == [False, False, True, True]


def test_a_key_ring_reports_whether_a_key_was_removed() -> None:
    ring = KeyRing(JWKS_URL)
    assert ring.replace(read_keys(key_set(jwk("rsa")))) is False
    assert (ring.current, ring.generation) == (True, 0)
    assert ring.replace(read_keys(key_set(jwk("p256"), jwk("rsa")))) is False
    assert ring.replace(read_keys(key_set(jwk("rsa")))) is True
    assert ring.generation == 1

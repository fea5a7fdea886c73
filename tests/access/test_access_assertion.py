"""The signed assertion, read as an app's backend reads it: with PyJWT and our key set."""

from __future__ import annotations

import base64
import hashlib
import json

import jwt
import pytest
from access.access_samples import FREE, NOW, PRO
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.assertion import Signer, assertion_keys
from gateway.settings import Secret

URL = "https://pay.example.com"
NEW, OLD = Secret("admin-token-0123456789abcdef"), Secret("the-admin-token-before-that-one")
KEYS = assertion_keys((NEW, OLD))
SIGNER, OLD_SIGNER = Signer(URL, KEYS), Signer(URL, KEYS[1:])


def read(token: bytes, audience: str = "skai", *, by: Signer = SIGNER, issuer: str = URL) -> dict[str, object]:
    """The claims, if everything verifies; time apart, which is the tests' own."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWKSet.from_dict(by.jwks)[kid]  # type: ignore[arg-type]  # a dict it is
    claims: dict[str, object] = jwt.decode(
        token, key, algorithms=["ES256"], audience=audience, issuer=issuer,
        options={"verify_exp": False, "verify_iat": False, "require": ["iss", "aud", "iat", "exp"]},
    )  # fmt: skip
    return claims


def test_the_assertion_has_the_content_of_the_tags() -> None:
    assert read(SIGNER.sign("skai", PRO, "alice", NOW)) == {
        "iss": URL, "aud": "skai", "sub": "alice", "tier": "pro", "features": ["images"], "iat": NOW, "exp": NOW + 60,
    }  # fmt: skip
    assert jwt.get_unverified_header(SIGNER.sign("skai", PRO, "alice", NOW)) == {
        "alg": "ES256", "typ": "JWT", "kid": SIGNER.jwks["keys"][0]["kid"],
    }  # fmt: skip


def test_the_anonymous_have_no_subject() -> None:
    assert read(SIGNER.sign("skai", FREE, None, NOW)) == {
        "iss": URL, "aud": "skai", "tier": "free", "features": [], "iat": NOW, "exp": NOW + 60,
    }  # fmt: skip


@given(user_id=st.text(min_size=1, max_size=200).filter(str.isprintable))
def test_any_user_id_comes_back_as_it_was_in_visible_ascii(user_id: str) -> None:
    token = SIGNER.sign("skai", PRO, user_id, NOW)
    assert read(token)["sub"] == user_id
    assert token.isascii()
    assert b"\n" not in token


def test_another_app_or_another_installation_does_not_take_it() -> None:
    token = SIGNER.sign("skai", PRO, "alice", NOW)
    with pytest.raises(jwt.InvalidAudienceError):
        read(token, "blog")
    with pytest.raises(jwt.InvalidIssuerError):
        read(token, issuer="https://pay.example.org")


def test_nothing_in_it_can_be_changed() -> None:
    header, payload, signature = SIGNER.sign("skai", FREE, "bob", NOW).split(b".")
    better = base64.urlsafe_b64encode(base64.urlsafe_b64decode(payload + b"==").replace(b"free", b"prox")).rstrip(b"=")
    assert better != payload
    with pytest.raises(jwt.InvalidSignatureError):
        read(b".".join((header, better, signature)))


def test_what_the_token_before_a_rolling_signed_is_still_good() -> None:
    token = OLD_SIGNER.sign("skai", PRO, "alice", NOW)
    assert read(token, by=SIGNER)["sub"] == "alice"
    assert [key["kid"] for key in SIGNER.jwks["keys"]][1:] == [key["kid"] for key in OLD_SIGNER.jwks["keys"]]
    with pytest.raises(KeyError):  # once only the new one is left, only what it signed is good
        read(token, by=Signer(URL, KEYS[:1]))


def test_the_same_token_gives_the_same_key_and_another_one_another() -> None:
    """Written out once: an update that changed it would refuse what was signed just before."""
    kids = [Signer(URL, assertion_keys((token,))).jwks["keys"][0]["kid"] for token in (NEW, NEW, OLD)]
    assert kids == [KNOWN_KID, KNOWN_KID, kids[2]]
    assert kids[2] != KNOWN_KID


KNOWN_KID = "gmBTHaPL5RAx6iO2I27vqRnGB2Br8G1RvNJmiE1XZPM"


def test_the_key_set_holds_public_halves_only_under_their_thumbprints() -> None:
    for key in SIGNER.jwks["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        # RFC 7638: the required members in their order, without a space
        text = json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        assert key["kid"] == base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        assert (key["alg"], key["use"], len(key["x"]), len(key["y"])) == ("ES256", "sig", 43, 43)

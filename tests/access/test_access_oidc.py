"""Tokens of an OpenID provider: their users, and every known way to forge one."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from access.access_samples import NOW, b64, with_app
from access.oidc_provider import (
    AUDIENCE,
    CLAIMS,
    ISSUER,
    JWKS_URL,
    KIND,
    by_hand,
    jwk,
    key_set,
    private,
    signed,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.app_access import app_access
from gateway.access.authentication import (
    AuthenticatedUser,
    AuthenticationOrLookup,
    CredentialLookup,
    RejectedCredential,
)
from gateway.access.authenticator import Authenticator
from gateway.access.jwks import KeyRing, read_keys

ALL_KEYS = ("rsa", "p256", "ed25519", "p384", "p521")


def ring(*keys: dict[str, Any]) -> KeyRing:
    """What was read a moment ago."""
    made = KeyRing(JWKS_URL)
    made.tried(NOW)
    made.replace(read_keys(key_set(*(keys or map(jwk, ALL_KEYS)))))
    return made


def identity(keys: KeyRing | None = None, **changes: object) -> Authenticator:
    kind = replace(KIND, **changes)  # type: ignore[arg-type]  # the names are those of JwtIdentity
    key_ring = keys or ring()
    return app_access(with_app(identity=(kind,)), {}, {}, key_ring=lambda url: key_ring).identity


def user(token: bytes, by: Authenticator | None = None, now: int = NOW) -> AuthenticationOrLookup:
    return (by or identity()).authenticate({b"Authorization": b"Bearer " + token}, now)


def outcome(answer: AuthenticationOrLookup) -> str:
    """A user's id, a refusal's code, or "ask"."""
    if isinstance(answer, RejectedCredential):
        return answer.code
    return "ask" if isinstance(answer, CredentialLookup) else str(getattr(answer, "user_id", "anonymous"))


def test_a_good_token_is_its_users_until_it_ends() -> None:
    assert user(signed()) == AuthenticatedUser("alice", NOW + 330)
    assert user(signed(exp=NOW + 86_400)) == AuthenticatedUser("alice", NOW + 3600)


@pytest.mark.parametrize(
    ("key", "algorithm", "allowed"),
    [
        ("rsa", "RS256", True), ("p256", "ES256", True), ("ed25519", "EdDSA", True),
        ("rsa", "RS512", False), ("rsa", "PS256", False), ("p384", "ES384", False), ("p521", "ES512", False),
    ],
)  # fmt: skip
def test_every_algorithm_that_the_app_lists_and_no_other(key: str, algorithm: str, allowed: bool) -> None:
    token = signed(key, algorithm)
    assert outcome(user(token)) == ("alice" if allowed else "wrong_algorithm")
    assert outcome(user(token, identity(algorithms=(algorithm,)))) == "alice"


def _rs256(text: bytes) -> bytes:
    return bytes(private("rsa").sign(text, padding.PKCS1v15(), hashes.SHA256()))


def _nothing(text: bytes) -> bytes:
    return b""


def _hs256(secret: bytes) -> Any:
    return lambda text: hmac.digest(secret, text, "sha256")


_PEM = private("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
_EMBEDDED = jwk("rsa-2", kid=None, use=None)


def _with_key_of_its_own(**header: object) -> bytes:
    """Signed by the attacker, with a header that points to their own key."""
    attacker = private("rsa-2")
    return by_hand(
        {"alg": "RS256", "kid": "rsa", **header},
        CLAIMS,
        lambda text: bytes(attacker.sign(text, padding.PKCS1v15(), hashes.SHA256())),
    )


FORGED: dict[str, tuple[bytes, str]] = {
    "alg none": (by_hand({"alg": "none"}, CLAIMS, _nothing), "wrong_algorithm"),
    "alg none with its key's id": (by_hand({"alg": "none", "kid": "rsa"}, CLAIMS, _nothing), "wrong_algorithm"),
    "alg nOnE": (by_hand({"alg": "nOnE", "kid": "rsa"}, CLAIMS, _nothing), "wrong_algorithm"),
    "no signature": (by_hand({"alg": "RS256", "kid": "rsa"}, CLAIMS, _nothing), "malformed_token"),
    "no alg": (by_hand({"kid": "rsa"}, CLAIMS, _rs256), "wrong_algorithm"),
    "a list of algs": (by_hand({"alg": ["RS256"], "kid": "rsa"}, CLAIMS, _rs256), "wrong_algorithm"),
    "HS256 with the public key": (by_hand({"alg": "HS256", "kid": "rsa"}, CLAIMS, _hs256(_PEM)), "wrong_algorithm"),
    "HS256 with the public key's number": (
        by_hand({"alg": "HS256", "kid": "rsa"}, CLAIMS, _hs256(jwk("rsa")["n"].encode())), "wrong_algorithm"),
    "HS256 with nothing": (by_hand({"alg": "HS256"}, CLAIMS, _hs256(b"")), "wrong_algorithm"),
    "an embedded jwk": (_with_key_of_its_own(jwk=_EMBEDDED), "wrong_algorithm"),
    "an embedded jku": (_with_key_of_its_own(jku="https://evil.example/keys"), "wrong_algorithm"),
    "an embedded x5u": (_with_key_of_its_own(x5u="https://evil.example/cert"), "wrong_algorithm"),
    "an embedded x5c": (_with_key_of_its_own(x5c=["MIIB"]), "wrong_algorithm"),
    "a good signature and a jku": (
        by_hand({"alg": "RS256", "kid": "rsa", "jku": "https://x"}, CLAIMS, _rs256), "wrong_algorithm"),
    "crit": (by_hand({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1}, CLAIMS, _rs256), "wrong_algorithm"),
    "b64 false": (by_hand({"alg": "RS256", "kid": "rsa", "b64": False}, CLAIMS, _rs256), "wrong_algorithm"),
    "zip": (by_hand({"alg": "RS256", "kid": "rsa", "zip": "DEF"}, CLAIMS, _rs256), "wrong_algorithm"),
    "another's key under our id": (_with_key_of_its_own(), "wrong_signature"),
    "ES256 under an RSA key's id": (signed("p256", "ES256", header={"kid": "rsa"}), "unknown_key"),
    "RS256 under a P-256 key's id": (signed("rsa", header={"kid": "p256"}), "unknown_key"),
    "ES256 with zeros": (by_hand({"alg": "ES256", "kid": "p256"}, CLAIMS, lambda text: bytes(64)), "wrong_signature"),
    "ES256 with nothing": (by_hand({"alg": "ES256", "kid": "p256"}, CLAIMS, lambda text: b"\0"), "wrong_signature"),
    "ES256 in DER": (
        by_hand({"alg": "ES256", "kid": "p256"}, CLAIMS,
                lambda text: private("p256").sign(text, ec.ECDSA(hashes.SHA256()))), "wrong_signature"),
    "EdDSA with zeros": (
        by_hand({"alg": "EdDSA", "kid": "ed25519"}, CLAIMS, lambda text: bytes(64)), "wrong_signature"),
    "a logout token": (
        by_hand({"alg": "RS256", "kid": "rsa", "typ": "logout+jwt"}, CLAIMS, _rs256), "wrong_token_type"),
    "a typ that is no text": (by_hand({"alg": "RS256", "kid": "rsa", "typ": 7}, CLAIMS, _rs256), "wrong_token_type"),
    "a kid that is no text": (by_hand({"alg": "RS256", "kid": 7}, CLAIMS, _rs256), "malformed_token"),
    "a kid that is a path": (signed(header={"kid": "../../../../dev/null"}), "unknown_key"),
    "a kid that is SQL": (signed(header={"kid": "x' UNION SELECT 'a"}), "unknown_key"),
    "two algs": (by_hand(b'{"alg":"none","kid":"rsa","alg":"RS256"}', CLAIMS, _rs256), "malformed_token"),
    "two subs": (
        by_hand({"alg": "RS256", "kid": "rsa"}, json.dumps(CLAIMS)[:-1].encode() + b',"sub":"bob"}', _rs256),
        "malformed_token"),
    "claims that are a list": (by_hand({"alg": "RS256", "kid": "rsa"}, [CLAIMS], _rs256), "malformed_token"),
    "nested deep": (by_hand({"alg": "RS256", "kid": "rsa"}, b"[" * 6000, _rs256), "malformed_token"),
    "five parts": (signed() + b".x.y", "malformed_token"),
    "a general JWS": (json.dumps({"payload": "x", "signatures": []}).encode(), "malformed_token"),
    "huge": (signed(groups=["g" * 50] * 300), "malformed_token"),
    "padded": (signed() + b"=", "malformed_token"),
    "a session of Open WebUI": (
        by_hand({"alg": "HS256", "typ": "JWT"}, {"id": "alice"}, _hs256(b"s")), "wrong_algorithm"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(name: str) -> None:
    token, code = FORGED[name]
    assert outcome(user(token)) == code


def test_another_payload_under_a_good_signature_is_refused() -> None:
    header, _, signature = signed().split(b".")
    payload = b64(json.dumps({**CLAIMS, "sub": "mallory"}).encode()).encode()
    assert outcome(user(b".".join((header, payload, signature)))) == "wrong_signature"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://sso.example.com/realms/main/"}, "wrong_issuer"),
        ({"iss": "https://sso.example.com/realms/MAIN"}, "wrong_issuer"),
        ({"iss": "https://evil.example"}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"iss": [ISSUER]}, "wrong_issuer"),
        ({"aud": "other"}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": "SKAI"}, "wrong_audience"),
        ({"aud": "skai,other"}, "wrong_audience"),
        ({"aud": ["other", "account"]}, "wrong_audience"),
        ({"aud": [AUDIENCE, 7]}, "wrong_audience"),
        ({"aud": {"skai": True}}, "wrong_audience"),
        ({"aud": ["account", AUDIENCE]}, "alice"),
        ({"exp": None}, "malformed_token"),
        ({"exp": NOW - 29}, "alice"),
        ({"exp": NOW - 30}, "expired_token"),
        ({"exp": 0}, "expired_token"),
        ({"exp": True}, "malformed_token"),
        ({"exp": 10**300}, "malformed_token"),
        ({"nbf": NOW + 30}, "alice"),
        ({"nbf": NOW + 31}, "early_token"),
        ({"iat": NOW + 30}, "alice"),
        ({"iat": NOW + 31}, "early_token"),
        ({"iat": None}, "alice"),
        ({"sub": None}, "malformed_token"),
        ({"sub": ""}, "malformed_token"),
        ({"sub": "a" * 200}, "a" * 200),
        ({"sub": "a" * 201}, "malformed_token"),
        ({"sub": "a\nX-SK-Tier: max"}, "malformed_token"),
        ({"sub": "a\u200bb"}, "malformed_token"),
        ({"sub": "a\ud800"}, "malformed_token"),
    ],
)  # fmt: skip
def test_claims(changes: dict[str, object], expected: str) -> None:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    assert outcome(user(by_hand({"alg": "RS256", "kid": "rsa"}, claims, _rs256))) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"kid": "rsa", "typ": "at+jwt"}, "alice"),
        ({"kid": "rsa", "typ": "application/at+JWT"}, "alice"),
        ({"kid": "rsa", "x5t": "abc", "nonce": "n"}, "alice"),  # Entra ID sends the first
        ({"kid": "rsa", "cty": "JWT"}, "alice"),
    ],
)
def test_headers_that_good_providers_send(header: dict[str, Any], expected: str) -> None:
    assert outcome(user(signed(header=header))) == expected


@pytest.mark.parametrize(
    ("issuer", "claims", "expected"),
    [
        (ISSUER, {"email": "a@example.com", "email_verified": True}, "a@example.com"),
        (ISSUER, {"email": "a@example.com", "email_verified": False}, "email_unverified"),
        (ISSUER, {"email": "a@example.com", "email_verified": "true"}, "email_unverified"),
        (ISSUER, {"email": "a@example.com", "email_verified": 1}, "email_unverified"),
        (ISSUER, {"email": "a@example.com"}, "email_unverified"),
        (ISSUER, {"email_verified": True}, "malformed_token"),
        ("https://team.cloudflareaccess.com", {"email": "a@example.com"}, "a@example.com"),
        ("https://team.cloudflareaccess.com", {"email": "a@example.com", "email_verified": False}, "email_unverified"),
        ("https://team.cloudflareaccess.com.evil.example", {"email": "a@example.com"}, "email_unverified"),
        ("https://evil.example/.cloudflareaccess.com", {"email": "a@example.com"}, "email_unverified"),
        ("http://team.cloudflareaccess.com", {"email": "a@example.com"}, "email_unverified"),
    ],
)
def test_t31_an_address_counts_only_if_it_was_verified(issuer: str, claims: dict[str, object], expected: str) -> None:
    by = identity(issuer=issuer, claim="email")
    assert outcome(user(signed(iss=issuer, **claims), by)) == expected


def test_another_claim_may_be_the_id() -> None:
    assert outcome(user(signed(oid="42-43"), identity(claim="oid"))) == "42-43"


@pytest.mark.parametrize(
    ("keys", "header", "expected"),
    [
        ((jwk("rsa"),), {}, "alice"),  # one key that fits needs no id
        ((jwk("rsa"), jwk("p256")), {}, "alice"),
        ((jwk("rsa"), jwk("rsa-2")), {}, "unknown_key"),
        ((jwk("rsa", kid=None),), {}, "alice"),
        ((jwk("rsa", kid=None),), {"kid": "rsa"}, "unknown_key"),
        ((jwk("rsa", kid="twice"), jwk("rsa-2", kid="twice")), {"kid": "twice"}, "alice"),
        ((jwk("rsa-2", kid="twice"), jwk("rsa", kid="twice")), {"kid": "twice"}, "alice"),
        ((jwk("p256", kid="both"), jwk("rsa", kid="both")), {"kid": "both"}, "alice"),
        ((jwk("rsa-2", kid="rsa"),), {"kid": "rsa"}, "wrong_signature"),
        ((jwk("rsa", alg="RS256"),), {"kid": "rsa"}, "alice"),
        ((jwk("rsa", alg="RS512"),), {"kid": "rsa"}, "unknown_key"),
        ((jwk("rsa", kid="RSA"),), {"kid": "rsa"}, "unknown_key"),
    ],
)
def test_which_key_verifies(keys: tuple[dict[str, Any], ...], header: dict[str, Any], expected: str) -> None:
    assert outcome(user(signed(header=header), identity(ring(*keys)))) == expected


def test_t32_an_unknown_key_is_fetched_once_a_minute() -> None:
    keys = ring()
    by = identity(keys)
    token = signed("rsa-2")
    assert outcome(user(token, by, NOW + 59)) == "unknown_key"
    assert user(token, by, NOW + 60) == CredentialLookup("jwt", 0, token, "authorization")
    keys.tried(NOW + 60)
    assert outcome(user(token, by, NOW + 61)) == "unknown_key"
    keys.failed()  # the provider did not answer, so the key may exist
    assert outcome(user(token, by, NOW + 62)) == "ask"
    assert outcome(user(signed(), by, NOW + 62)) == "alice"
    keys.replace(read_keys(key_set(jwk("rsa"))))
    assert outcome(user(signed("rsa-2", iat=None), by, NOW - 3600)) == "ask"  # our clock was set back


def test_before_the_keys_were_read_once_nothing_is_refused_for_want_of_them() -> None:
    empty = KeyRing(JWKS_URL)
    empty.tried(NOW)
    assert outcome(user(signed(), identity(empty))) == "ask"
    assert outcome(user(signed(aud="other"), identity(empty))) == "wrong_audience"


def test_a_token_for_another_app_causes_no_lookup_of_keys() -> None:
    by = identity(KeyRing(JWKS_URL))
    for changes in ({"iss": "https://evil.example"}, {"aud": "x"}, {"exp": NOW - 100}, {"exp": None}):
        assert outcome(user(signed("rsa-2", **changes), by)) != "ask"


def test_a_remembered_token_is_forgotten_with_the_key_that_verified_it() -> None:
    keys = ring(jwk("rsa"))
    by = identity(keys)
    token = signed()
    assert outcome(user(token, by)) == "alice"
    assert keys.replace(read_keys(key_set(jwk("rsa"), jwk("rsa-2")))) is False
    assert outcome(user(token, by)) == "alice"
    assert keys.replace(read_keys(key_set(jwk("rsa-2")))) is True
    assert outcome(user(token, by)) == "unknown_key"


def test_a_key_that_was_exchanged_under_its_id_has_gone() -> None:
    keys = ring(jwk("rsa"))
    by = identity(keys)
    assert outcome(user(signed(), by)) == "alice"
    keys.replace(read_keys(key_set(jwk("rsa-2", kid="rsa"))))
    assert outcome(user(signed(), by)) == "wrong_signature"


def test_a_remembered_token_still_ends() -> None:
    by = identity()
    assert user(signed(), by) == AuthenticatedUser("alice", NOW + 330)
    assert user(signed(), by, NOW + 329) == AuthenticatedUser("alice", NOW + 330)
    assert outcome(user(signed(), by, NOW + 330)) == "expired_token"


@pytest.mark.parametrize(
    ("changes", "headers", "expected"),
    [
        ({"header": "cf-access-jwt-assertion"}, {b"Cf-Access-Jwt-Assertion": signed()}, "alice"),
        ({"header": "cf-access-jwt-assertion"}, {b"Authorization": b"Bearer " + signed()}, "anonymous"),
        ({"header": "X-Token"}, {b"X-Token": signed() + b"\n" + signed()}, "duplicate_header"),
        ({"header": "X-Token"}, {b"X-Token": b""}, "anonymous"),
        ({"header": "X-Token"}, {b"X-Token": b"Bearer " + signed()}, "malformed_token"),
        ({"header": None, "cookie": "CF_Authorization"}, {b"Cookie": b"a=b; CF_Authorization=" + signed()}, "alice"),
        ({"header": None, "cookie": "CF_Authorization"}, {b"Cookie": b"cf_authorization=" + signed()}, "anonymous"),
        ({"header": None, "cookie": "c"}, {b"Cookie": b"c=" + signed() + b"; c=" + signed()}, "duplicate_cookie"),
        ({"header": None, "cookie": "c"}, {b"Cookie": b"c=" + signed() + b"\nc=x"}, "duplicate_cookie"),
        ({"header": None, "cookie": "c"}, {b"Cookie": b"cc=" + signed()}, "anonymous"),
        # the header stands first
        ({"header": "X-Token", "cookie": "c"}, {b"X-Token": b"junk", b"Cookie": b"c=" + signed()}, "malformed_token"),
        ({"header": "X-Token", "cookie": "c"}, {b"Cookie": b"c=" + signed()}, "alice"),
        ({}, {b"Authorization": b"Basic " + signed()}, "anonymous"),
        ({}, {b"Authorization": b"Bearer " + signed() + b"\nBearer " + signed()}, "duplicate_authorization"),
    ],
)  # fmt: skip
def test_where_the_token_is_read(changes: dict[str, Any], headers: dict[bytes, bytes], expected: str) -> None:
    assert outcome(identity(**changes).authenticate(headers, NOW)) == expected


def _padded(token: bytes) -> bytes:
    """The same signature with its unused last bits set: lenient decoders ignore them."""
    return token[:-1] + bytes([token[-1] + 1])


@pytest.mark.parametrize(
    "cookies",
    [
        b"c=" + _padded(signed("p256", "ES256")), b"c=" + signed() + b"==", b"c=" + signed() + b"!" * 20_000,
        b"c=%65" + signed()[1:], b"c=" + signed().replace(b".", b"%2E"), b"c=" + signed() + b"; c=x",
        b"c=x; c=" + signed(), b"c=" + signed() + b"\nc=x", b"c=" + signed() + b"; c=" + signed(),
        b"c=x;c=" + signed() + b"%3D", b";" * 1001 + b"c=" + signed(), b"c=x;" * 10 + b"c=" + signed(),
    ],
)  # fmt: skip
def test_a_cookie_that_the_app_may_accept_counts_as_no_signed_out_one(cookies: bytes) -> None:
    """Else its user would pass the unpaid paths without tag, and never be provisioned in LiteLLM."""
    refused = identity(header=None, cookie="c").authenticate({b"Cookie": cookies}, NOW)
    assert isinstance(refused, RejectedCredential)
    assert not refused.signed_out


def test_an_unverified_address_is_a_user_of_the_app_all_the_same() -> None:
    token = signed(email="a@example.com", email_verified=False)
    refused = identity(header=None, cookie="c", claim="email").authenticate({b"Cookie": b"c=" + token}, NOW)
    assert isinstance(refused, RejectedCredential)
    assert (refused.code, refused.signed_out) == ("email_unverified", False)


@pytest.mark.parametrize(
    "cookies",
    [
        b"c=GA1.2.345.678", b"c=x; c=y", b"c=" + signed(exp=NOW - 100), b"c=x; c=" + signed(exp=NOW - 100),
        b"c=" + signed(iss="https://other.example"), b"c=%7B%22a%22%3A1%7D", b"c=a.b.c%2",
        b"c=" + signed()[:-8] + b"AAAA%41AAA",
    ],
)  # fmt: skip
def test_a_foreign_or_ended_cookie_counts_as_signed_out(cookies: bytes) -> None:
    refused = identity(header=None, cookie="c").authenticate({b"Cookie": cookies}, NOW)
    assert isinstance(refused, RejectedCredential)
    assert refused.signed_out


_TOKEN = signed("p256", "ES256")
_SHARED = identity()


@given(st.binary(max_size=200), st.integers(0, 2), st.integers(0, 500), st.integers(0, 255))
def test_no_change_of_a_good_token_is_anybody(junk: bytes, part: int, place: int, value: int) -> None:
    good = _TOKEN.split(b".")
    segment = bytearray(good[part])
    segment[place % len(segment)] = value
    changed = b".".join([*good[:part], bytes(segment), *good[part + 1 :]])
    for token in (junk, changed):
        if token != _TOKEN:
            assert not isinstance(user(token, _SHARED), AuthenticatedUser)

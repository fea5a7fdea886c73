"""Authenticating requests."""

from __future__ import annotations

import jwt as pyjwt
import pytest
from access.access_samples import NOW, OLD_SECRET, SESSION_REF, SESSION_SECRET, session, token, with_app
from access.oidc_provider import signed as signed_by_a_key_pair
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.app_access import app_access
from gateway.access.authentication import Anonymous, AuthenticatedUser, AuthenticationOrLookup, RejectedCredential
from gateway.access.authenticator import Authenticator
from gateway.access.cookies import REPEATED_HEADER_SEPARATOR
from gateway.access.credential_cache import CredentialCache
from gateway.access.keys import KeyOwner, key_hash
from gateway.catalog.identity import OpenWebUIIdentity, UserKeyIdentity
from gateway.settings import Secret

KEYS = {
    key_hash("skp_alice"): KeyOwner("skai", "alice"),
    key_hash("skp_other_app"): KeyOwner("blog", "bob"),
}


def identity(*secrets: str, keys: dict[str, KeyOwner] | None = KEYS) -> Authenticator:
    """Of an app with `openwebui` for these secrets (the sample's) and `user_key`, unless `keys` is None."""
    kinds = (OpenWebUIIdentity(SESSION_REF), *(() if keys is None else (UserKeyIdentity(),)))
    secrets_by_ref = {SESSION_REF: tuple(Secret(secret) for secret in secrets or (SESSION_SECRET,))}
    return app_access(with_app(identity=kinds), secrets_by_ref, keys or {}).identity


def identity_found(
    authorization: bytes | None = None, cookies: bytes | None = None, api_key: bytes | None = None, now: int = NOW
) -> AuthenticationOrLookup:
    return authenticated(identity(), authorization, cookies, api_key, now)


def authenticated(
    by: Authenticator,
    authorization: bytes | None = None,
    cookies: bytes | None = None,
    api_key: bytes | None = None,
    now: int = NOW,
) -> AuthenticationOrLookup:
    sent = {b"Authorization": authorization, b"Cookie": cookies, b"X-Api-Key": api_key}
    return by.authenticate({name: value for name, value in sent.items() if value is not None}, now)


def user(answer: AuthenticationOrLookup) -> str | None:
    return answer.user_id if isinstance(answer, AuthenticatedUser) else None


def code(answer: AuthenticationOrLookup) -> str | None:
    return answer.code if isinstance(answer, RejectedCredential) else None


A, B = session("alice"), session("bob")
BAD = token({"id": "mallory"}, secret="not the app's secret at all, no no")


def test_a_request_without_a_credential_is_anonymous() -> None:
    assert identity_found() == Anonymous()
    assert identity_found(cookies=b"theme=dark; oauth_id_token=x; csrftoken=y; token_type=z; Token=q") == Anonymous()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # Bearer, then the cookie, then x-api-key: T29
        ({"authorization": b"Bearer " + A, "cookies": b"token=" + B, "api_key": B}, "alice"),
        ({"cookies": b"token=" + A, "api_key": B}, "alice"),
        ({"api_key": A}, "alice"),
        ({"authorization": b"bEaReR  " + A}, "alice"),
        # what programs send that have no token
        ({"authorization": b"Bearer ", "cookies": b"token=" + A}, "alice"),
        ({"authorization": b"bearer", "cookies": b"token=" + A}, "alice"),
        ({"authorization": b"Bearer undefined", "cookies": b"token=" + A}, "alice"),
        ({"authorization": b"BEARER null", "api_key": A}, "alice"),
        ({"cookies": b"token=", "api_key": A}, "alice"),
        ({"cookies": b'token=""', "api_key": A}, "alice"),
        # of two cookies Open WebUI takes the last, of all lines
        ({"cookies": b"token=" + B + b"; token=" + A}, "alice"),
        ({"cookies": b"token=" + BAD + b"; token=" + A}, "alice"),
        ({"cookies": b"token=" + B + REPEATED_HEADER_SEPARATOR + b"a=b; token=" + A}, "alice"),
        ({"cookies": b"token=" + B + b"; token=", "api_key": A}, "alice"),
        # what Starlette strips from a name before it compares, and from a value
        ({"cookies": b"token=" + B + b"; \xa0token=" + A}, "alice"),
        ({"cookies": b"token=" + B + b"; token\x1f=" + A}, "alice"),
        ({"cookies": b"token=" + B + b";\ttoken\x0b=\x85" + A}, "alice"),
        ({"cookies": b'token="' + A + b'"'}, "alice"),
        ({"cookies": b'token="\\145' + A[1:] + b'"'}, "alice"),
        # a proxy's Basic in front of the app is no credential of its own
        ({"authorization": b"Basic dXNlcjpwdw==", "cookies": b"token=" + A}, "alice"),
        ({"authorization": b"Bearer skp_alice", "cookies": b"token=" + B}, "alice"),
        ({"cookies": b"a=b; token=" + A + b"; c=d"}, "alice"),
        ({"cookies": b"a=b" + REPEATED_HEADER_SEPARATOR + b"token=" + A}, "alice"),
    ],
)
def test_t29_the_first_credential_present_decides(headers: dict[str, bytes], expected: str) -> None:
    assert user(identity_found(**headers)) == expected  # type: ignore[arg-type]  # keyword names of identity_found


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"authorization": b"Bearer " + BAD, "cookies": b"token=" + A, "api_key": A}, "wrong_signature"),
        ({"cookies": b"token=" + BAD, "api_key": A}, "wrong_signature"),
        ({"authorization": b"Bearer skp_revoked", "cookies": b"token=" + A}, "unknown_key"),
        ({"authorization": b"Bearer skp_other_app", "cookies": b"token=" + A}, "unknown_key"),
        ({"authorization": b"Bearer sk-0123456789abcdef0123456789abcdef", "cookies": b"token=" + A},
         "api_key_unsupported"),
        ({"api_key": b"sk-0123456789abcdef0123456789abcdef"}, "api_key_unsupported"),
        ({"authorization": b"Bearer Undefined", "cookies": b"token=" + A}, "malformed_token"),
        ({"authorization": b"Bearer undefined null", "cookies": b"token=" + A}, "malformed_token"),
        ({"authorization": b"Bearer " + A + REPEATED_HEADER_SEPARATOR + b"Bearer " + A}, "duplicate_authorization"),
        ({"authorization": b"Basic eA==" + REPEATED_HEADER_SEPARATOR + b"Bearer " + A}, "duplicate_authorization"),
        ({"api_key": A + REPEATED_HEADER_SEPARATOR + A}, "duplicate_header"),
        ({"cookies": b"token=" + A + b"; token=" + BAD, "api_key": A}, "wrong_signature"),
        ({"cookies": b"token=undefined", "api_key": A}, "malformed_token"),
        # Open WebUI takes a token under any scheme where there is no cookie, before X-Api-Key
        ({"authorization": b"Basic " + B, "api_key": A}, "wrong_scheme"),
        ({"authorization": b"Foo sk-0123456789abcdef", "api_key": A}, "wrong_scheme"),
    ],
)  # fmt: skip
def test_a_credential_that_does_not_verify_never_falls_through(headers: dict[str, bytes], expected: str) -> None:
    assert code(identity_found(**headers)) == expected  # type: ignore[arg-type]  # keyword names of identity_found


def test_a_kind_that_the_app_does_not_list_is_no_credential() -> None:
    only_keys = app_access(with_app(identity=(UserKeyIdentity(),)), {}, KEYS).identity
    assert authenticated(only_keys, b"Bearer " + A, b"token=" + A, A) == Anonymous()
    assert user(authenticated(only_keys, b"Bearer skp_alice")) == "alice"
    assert code(authenticated(identity(keys=None), b"Bearer skp_alice")) == "malformed_token"


ENDED = session("alice", expires_at=NOW - 30)
OTHER_SPELLING = A + b"!!!!"


@pytest.mark.parametrize(
    ("headers", "signed_out"),
    [
        ({"cookies": b"token=" + BAD}, True),
        ({"cookies": b"token=of-another-site"}, True),
        ({"cookies": b"token=" + ENDED}, True),
        ({"cookies": b"token=" + signed_by_a_key_pair()}, True),
        ({"cookies": b"token=" + token({"sub": "alice"}, secret="not the app's secret at all, no no")}, True),
        # the app may act on these, which its user would then use without a tag and without limits
        ({"cookies": b"token=" + OTHER_SPELLING}, False),
        ({"cookies": b"token=" + A + b"!" * 9000}, False),
        ({"cookies": b"token=" + token({"id": "alice", "typ": "automation"})}, False),
        ({"cookies": b"token=sk-0123456789abcdef0123456789abcdef"}, False),
        ({"authorization": b"Bearer " + BAD}, False),
        ({"authorization": b"Bearer " + ENDED}, False),
        ({"api_key": BAD}, False),
        ({"authorization": b"Bearer skp_revoked"}, False),
    ],
)
def test_a_cookie_that_the_app_cannot_take_either_counts_as_signed_out(
    headers: dict[str, bytes], signed_out: bool
) -> None:
    answer = identity_found(**headers)  # type: ignore[arg-type]  # keyword names of identity_found
    assert isinstance(answer, RejectedCredential)
    assert answer.signed_out is signed_out


@given(st.binary(max_size=60), st.integers(0, 43), st.integers(0, 43))
def test_what_pyjwt_takes_for_signed_by_the_app_never_counts_as_signed_out(junk: bytes, start: int, end: int) -> None:
    """Else its user would have neither tag nor limits, by writing the signature in another way."""
    signed, _, signature = A.rpartition(b".")
    spelled = signed + b"." + signature[:start] + junk.replace(b";", b"").replace(b"\n", b"") + signature[end:]
    answer = identity_found(cookies=b"token=" + spelled)
    try:
        read_as = spelled.decode("latin-1").strip()
        pyjwt.decode(read_as, SESSION_SECRET, ["HS256"], options={"verify_exp": False, "verify_iat": False})
    except pyjwt.PyJWTError:
        return
    assert user(answer) == "alice" or (isinstance(answer, RejectedCredential) and not answer.signed_out)


def test_a_revoked_key_is_refused_by_the_next_request() -> None:
    keys = dict(KEYS)
    by = identity(keys=keys)
    assert authenticated(by, b"Bearer skp_alice") == AuthenticatedUser("alice", None)
    del keys[key_hash("skp_alice")]
    assert code(authenticated(by, b"Bearer skp_alice")) == "unknown_key"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"alg": "HS256", "typ": "JWT"}, None),
        ({"alg": "HS256"}, None),
        ({"alg": "HS256", "typ": "jwt", "kid": "1"}, None),
        ({"alg": "none"}, "wrong_algorithm"),
        ({"alg": "None"}, "wrong_algorithm"),
        ({"alg": "hs256"}, "wrong_algorithm"),
        ({"alg": "HS384"}, "wrong_algorithm"),
        ({"alg": "RS256"}, "wrong_algorithm"),
        ({"alg": ["HS256"]}, "wrong_algorithm"),
        ({}, "wrong_algorithm"),
        ({"alg": "HS256", "crit": ["exp"]}, "wrong_algorithm"),
        ({"alg": "HS256", "b64": False}, "wrong_algorithm"),
        ({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, "wrong_algorithm"),
        ({"alg": "HS256", "jku": "https://evil.example"}, "wrong_algorithm"),
        ({"alg": "HS256", "typ": "at+jwt"}, "wrong_algorithm"),
        ({"alg": "HS256", "typ": 1}, "wrong_algorithm"),
        (b'{"alg":"none","alg":"HS256"}', "malformed_token"),
        (b"[]", "malformed_token"),
        (b"null", "malformed_token"),
        (b"\xff", "malformed_token"),
        (b"", "malformed_token"),
    ],
)
def test_only_hs256_with_a_plain_header(header: dict[str, object] | bytes, expected: str | None) -> None:
    assert code(identity_found(cookies=b"token=" + token({"id": "alice"}, header=header))) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"id": "alice"}, None),
        ({"id": "alice", "typ": "session"}, None),
        ({"id": "alice", "typ": "automation"}, "wrong_token_type"),
        ({"id": "alice", "typ": None}, "wrong_token_type"),
        ({"sub": "alice"}, "malformed_token"),
        ({"id": None}, "malformed_token"),
        ({"id": 7}, "malformed_token"),
        ({"id": ""}, "malformed_token"),
        ({"id": "a" * 200}, None),
        ({"id": "a" * 201}, "malformed_token"),
        ({"id": "a\r\nX-SK-Tier: max"}, "malformed_token"),
        ({"id": "a\u2028b"}, "malformed_token"),
        ({"id": "Zoë 1"}, None),
        ({"id": "alice", "exp": NOW - 29}, None),
        ({"id": "alice", "exp": NOW - 30}, "expired_token"),
        ({"id": "alice", "exp": 0}, "expired_token"),
        ({"id": "alice", "exp": NOW + 0.5}, None),
        ({"id": "alice", "exp": None}, "malformed_token"),
        ({"id": "alice", "exp": True}, "malformed_token"),
        ({"id": "alice", "exp": str(NOW + 100)}, "malformed_token"),
        (b'{"id":"alice","exp":1e999}', "malformed_token"),
        (b'{"id":"alice","exp":NaN}', "malformed_token"),
        (b'{"id":"alice","exp":Infinity}', "malformed_token"),
        ({"id": "alice", "exp": 10**400}, "malformed_token"),
        ({"id": "alice", "nbf": NOW + 30}, None),
        ({"id": "alice", "nbf": NOW + 31}, "early_token"),
        (b'{"id":"alice","id":"bob"}', "malformed_token"),
        (b'{"id":"alice","exp":9999999999,"exp":1}', "malformed_token"),
        (b'["alice"]', "malformed_token"),
        (b"[" * 5000, "malformed_token"),
        (b'{"id":"alice"} x', "malformed_token"),
    ],
)
def test_claims(claims: dict[str, object] | bytes, expected: str | None) -> None:
    assert code(identity_found(cookies=b"token=" + token(claims))) == expected


def test_signatures_and_shapes() -> None:
    header, payload, signature = A.split(b".")
    longer = {name: b"token=" + value for name, value in {
        "no signature": header + b"." + payload + b".",
        "two parts": header + b"." + payload,
        "four parts": A + b"." + signature,
        "padded": A + b"=",
        "another alphabet": header + b"." + payload + b"." + b"+" + signature[1:],
        "another payload": header + b"." + B.split(b".")[1] + b"." + signature,
        "sha512": token({"id": "alice"}, digest="sha512"),
        "huge": A + b"A" * 9000,
    }.items()}  # fmt: skip
    for name, cookies in longer.items():
        assert code(identity_found(cookies=cookies)) in ("malformed_token", "wrong_signature"), name


def test_a_signature_has_one_spelling() -> None:
    """The last of 43 characters holds two bits that no byte needs; naive decoders drop them."""
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    variants = [A[:-1] + bytes([letter]) for letter in last if letter != A[-1]]
    answers = [identity_found(cookies=b"token=" + variant) for variant in variants]
    assert {code(answer) for answer in answers} <= {"malformed_token", "wrong_signature"}
    # Open WebUI takes three of them.
    assert sum(isinstance(answer, RejectedCredential) and not answer.signed_out for answer in answers) == 3


def test_while_a_secret_is_rolled_both_verify() -> None:
    old = b"token=" + session("alice", secret=OLD_SECRET)
    assert user(authenticated(identity(SESSION_SECRET, OLD_SECRET), cookies=old)) == "alice"
    assert code(identity_found(cookies=old)) == "wrong_signature"


def test_t32_a_cached_token_is_verified_anew_after_an_hour_at_most() -> None:
    by = identity()
    never_expires = b"token=" + token({"id": "alice"})
    assert authenticated(by, cookies=never_expires) == AuthenticatedUser("alice", NOW + 3600)
    assert authenticated(by, cookies=never_expires, now=NOW + 3599) == AuthenticatedUser("alice", NOW + 3600)
    assert authenticated(by, cookies=never_expires, now=NOW + 3600) == AuthenticatedUser("alice", NOW + 7200)


def test_a_remembered_token_still_expires() -> None:
    by = identity()
    soon = b"token=" + session("alice", expires_at=NOW + 60)
    assert authenticated(by, cookies=soon) == AuthenticatedUser("alice", NOW + 90)
    assert user(authenticated(by, cookies=soon, now=NOW + 89)) == "alice"
    assert code(authenticated(by, cookies=soon, now=NOW + 90)) == "expired_token"


def test_t36_the_memory_of_tokens_is_bounded_and_forgets_the_unused_first() -> None:
    memory = CredentialCache(max_entries=512)
    digests = [number.to_bytes(2, "big") + bytes(30) for number in range(4096)]
    memory.put(digests[0], "kept", NOW + 10)
    for digest in digests[1:]:
        memory.put(digest, "someone", NOW + 10)
        assert memory.get(digests[0], NOW) == ("kept", NOW + 10)
    assert len(memory) <= 512
    assert memory.bytes_used() > 0
    assert memory.get(digests[-1], NOW + 10) is None


@given(st.binary(max_size=300))
def test_random_bytes_never_authenticate(data: bytes) -> None:
    for answer in (
        identity_found(authorization=b"Bearer " + data),
        identity_found(cookies=b"token=" + data),
        identity_found(api_key=data),
    ):
        assert not isinstance(answer, AuthenticatedUser)


@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9), max_size=5), st.text())
def test_what_pyjwt_signs_is_read_the_same(extra: dict[str, object], user_id: str) -> None:
    """PyJWT as the oracle: a token of the app that names a user is that user's, and no other token is anybody's."""
    claims = {"id": user_id, "exp": NOW + 1000} | {
        key: value for key, value in extra.items() if key not in ("exp", "nbf", "typ")
    }
    encoded = pyjwt.encode(claims, SESSION_SECRET, "HS256").encode()
    answer = identity_found(cookies=b"token=" + encoded)
    name = claims["id"]
    if isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable():
        assert answer == AuthenticatedUser(name, NOW + 1030)
    else:
        assert code(answer) == "malformed_token"

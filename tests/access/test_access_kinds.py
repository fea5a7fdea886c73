"""Several identity kinds in one app: which credential decides, how ids are kept apart; and kinds with introspection."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from access.access_samples import NOW, SECRETS, SESSION_REF, SESSION_SECRET, session, token, with_app
from access.oidc_provider import JWKS_URL, KIND, jwk, key_set, signed

from gateway.access.app_access import AppAccess, app_access
from gateway.access.authentication import (
    Administrator,
    AuthenticatedUser,
    AuthenticationOrLookup,
    CredentialLookup,
    RejectedCredential,
)
from gateway.access.identity.litellm_key import LiteLLMKeyVerifier
from gateway.access.identity.openwebui import OpenWebUIVerifier
from gateway.access.jwks import KeyRing, read_keys
from gateway.access.keys import KeyOwner, key_hash
from gateway.catalog.identity import (
    HeaderIdentity,
    IdentityKind,
    JwtIdentity,
    LiteLLMKeyIdentity,
    OpenWebUIIdentity,
    UserKeyIdentity,
)
from gateway.catalog.model import LiteLLMMode
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import NotAuthenticated
from gateway.settings import Secret

KEYS = {key_hash("skp_alice"): KeyOwner("skai", "alice")}
OTHER_REF = SecretRef("env", "OTHER")
OTHER_SECRET = "another-open-webui-of-the-same-app!!"
OPENWEBUI = OpenWebUIIdentity(SESSION_REF)
ASKED = OpenWebUIIdentity(SESSION_REF, "http://open-webui:8080")
HEADER = HeaderIdentity("remote-user", "authelia@file")
LITELLM = LiteLLMKeyIdentity()
USER_KEY = UserKeyIdentity()
HEX_KEY = "sk-0123456789abcdef0123456789abcdef"
KEY = HEX_KEY.encode()
DIGEST = hashlib.sha256(KEY).hexdigest().encode()

_RING = KeyRing(JWKS_URL)
_RING.tried(NOW)
_RING.replace(read_keys(key_set(jwk("rsa"))))


def access(*kinds: IdentityKind, previous: AppAccess | None = None, **changes: Any) -> AppAccess:
    given = {**SECRETS, OTHER_REF: (Secret(OTHER_SECRET),)}
    return app_access(with_app(identity=kinds, **changes), given, KEYS, previous, lambda url: _RING)


def identity(headers: dict[str, bytes], *kinds: IdentityKind, now: int = NOW) -> AuthenticationOrLookup:
    return access(*kinds).identity.authenticate({name.encode(): value for name, value in headers.items()}, now)


def outcome(answer: AuthenticationOrLookup) -> str:
    """A user's id, a refusal's code, "ask litellm_key" or "anonymous"."""
    if isinstance(answer, RejectedCredential):
        return answer.code
    return (
        f"ask {answer.kind}" if isinstance(answer, CredentialLookup) else str(getattr(answer, "user_id", "anonymous"))
    )


A, B = session("alice"), session("bob")
ORDER: list[tuple[tuple[IdentityKind, ...], dict[str, bytes], str]] = [
    # a place is looked at where the first kind names it; its form says which kind reads it
    ((OPENWEBUI, USER_KEY), {"Authorization": b"Bearer skp_alice", "Cookie": b"token=" + B}, "alice"),
    ((USER_KEY, OPENWEBUI), {"Authorization": b"Bearer " + B, "Cookie": b"token=" + A}, "bob"),
    ((HEADER, OPENWEBUI), {"Remote-User": b"carol", "Authorization": b"Bearer " + B}, "carol"),
    ((OPENWEBUI, HEADER), {"Remote-User": b"carol", "Authorization": b"Bearer " + B}, "bob"),
    ((OPENWEBUI, HEADER), {"Remote-User": b"carol"}, "carol"),
    ((HEADER, OPENWEBUI), {"Remote-User": b"", "Cookie": b"token=" + B}, "bob"),
    ((KIND, USER_KEY), {"Authorization": b"Bearer skp_alice"}, "alice"),
    ((KIND, USER_KEY), {"Authorization": b"Bearer " + signed()}, "alice"),
    ((KIND, LITELLM), {"Authorization": b"Bearer " + KEY}, "ask litellm_key"),
    ((LITELLM, KIND), {"Authorization": b"Bearer " + signed(), "X-Api-Key": KEY}, "alice"),
    ((OPENWEBUI, LITELLM), {"X-Api-Key": KEY}, "ask litellm_key"),
    ((OPENWEBUI, LITELLM), {"X-Api-Key": A}, "alice"),
    # Open WebUI looks at its cookie before X-Api-Key, whichever kind has named that
    ((LITELLM, OPENWEBUI), {"X-Api-Key": A, "Cookie": b"token=" + B}, "bob"),
    ((LITELLM, OPENWEBUI), {"X-Api-Key": KEY, "Cookie": b"token=" + B}, "ask litellm_key"),
    ((LITELLM, OPENWEBUI), {"X-Api-Key": A}, "alice"),
    ((LITELLM, OPENWEBUI, USER_KEY), {"Authorization": b"Bearer skp_alice", "Cookie": b"token=" + B}, "alice"),
    # present and not verifying never falls through
    ((OPENWEBUI, HEADER), {"Remote-User": b"carol", "Cookie": b"token=junk"}, "malformed_token"),
    ((HEADER, OPENWEBUI), {"Remote-User": b"\xff", "Cookie": b"token=" + B}, "malformed_user_id"),
    ((HEADER, OPENWEBUI), {"Remote-User": b"a\nb", "Cookie": b"token=" + B}, "duplicate_header"),
    ((KIND, LITELLM), {"Authorization": b"Bearer junk", "X-Api-Key": KEY}, "malformed_token"),
    ((LITELLM, USER_KEY), {"Authorization": b"Bearer " + KEY + b"\nBearer skp_alice"}, "duplicate_authorization"),
    # what no kind of the app takes is no credential
    ((LITELLM,), {"Authorization": b"Bearer " + A, "X-Api-Key": A}, "anonymous"),
    ((LITELLM,), {"Authorization": b"Bearer skp_alice"}, "anonymous"),
    ((LITELLM,), {"Authorization": b"Bearer " + A, "X-Api-Key": KEY}, "ask litellm_key"),
    ((USER_KEY,), {"Authorization": b"Bearer " + KEY}, "anonymous"),
    ((HEADER,), {"Authorization": b"Bearer " + A, "Cookie": b"token=" + A, "Remote_user": b"x"}, "anonymous"),
    ((OPENWEBUI, USER_KEY), {"Authorization": b"Bearer " + KEY}, "api_key_unsupported"),
    ((KIND,), {"Authorization": b"Bearer " + KEY}, "malformed_token"),
    # a signature of one kind is nothing to another
    ((KIND,), {"Authorization": b"Bearer " + A}, "wrong_algorithm"),
    ((OPENWEBUI,), {"Authorization": b"Bearer " + signed()}, "malformed_token"),
]  # fmt: skip


@pytest.mark.parametrize(("kinds", "headers", "expected"), ORDER)
def test_t29_the_first_credential_present_decides(
    kinds: tuple[IdentityKind, ...], headers: dict[str, bytes], expected: str
) -> None:
    assert outcome(identity(headers, *kinds)) == expected


def test_the_headers_and_cookies_that_are_read() -> None:
    cookie = JwtIdentity("i", "a", "https://k", ("RS256",), None, "CF_Authorization")
    identity = access(HEADER, OPENWEBUI, cookie).identity
    assert identity.request_headers == ("Remote-User", "Authorization", "Cookie", "X-Api-Key")
    assert identity.cookie_names == ("token", "CF_Authorization")
    assert identity.may_have_credential({b"Remote-User": b"x"})
    assert not identity.may_have_credential({b"Accept": b"*/*", b"X-Forwarded-Uri": b"/"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"alice", "alice"), ("Zoë".encode(), "Zoë"), (b"alice@example.com", "alice@example.com"),
        (b"a" * 200, "a" * 200), (b"a%0Ab", "a%0Ab"), (b"skp_alice", "skp_alice"), (KEY, HEX_KEY), (b"", "anonymous"),
        (b"a" * 201, "malformed_user_id"), (b"a\tb", "malformed_user_id"),
        ("Zoë".encode("latin-1"), "malformed_user_id"), ("a\u200bb".encode(), "malformed_user_id"),
    ],
)  # fmt: skip
def test_t30_a_trusted_header_is_the_id(value: bytes, expected: str) -> None:
    answer = identity({"Remote-User": value}, HEADER)
    assert outcome(answer) == expected
    if isinstance(answer, AuthenticatedUser):
        assert answer.credential_expires_at is None


def _named(user_id: str) -> dict[str, bytes]:
    return {"Remote-User": user_id.encode()}


@pytest.mark.parametrize(
    ("header", "openwebui", "user_id", "by_header", "by_session"),
    [
        ("", "chat", "bob", "bob", "chat:bob"),
        ("sso", "", "bob", "sso:bob", "bob"),
        ("sso", "chat", "bob", "sso:bob", "chat:bob"),
        # the app's own ids must not reach into another source's
        ("", "chat", "chat:bob", "reserved_user_id", "chat:chat:bob"),
        ("sso", "", "sso:bob", "sso:sso:bob", "reserved_user_id"),
        ("", "chat", "CHAT:bob", "CHAT:bob", "chat:CHAT:bob"),
        ("", "chat", "chats:bob", "chats:bob", "chat:chats:bob"),
        ("", "chat", "chat", "chat", "chat:chat"),
        ("", "", "chat:bob", "chat:bob", "chat:bob"),
        ("sso", "chat", "b" * 196, "sso:" + "b" * 196, "malformed_token"),
        ("sso", "chat", "b" * 197, "malformed_user_id", "malformed_token"),
    ],
)
def test_t31_ids_of_two_sources_never_meet_by_chance(
    header: str, openwebui: str, user_id: str, by_header: str, by_session: str
) -> None:
    kinds = (
        HeaderIdentity("Remote-User", "authelia@file", header),
        OpenWebUIIdentity(SESSION_REF, None, openwebui),
    )
    assert outcome(identity(_named(user_id), *kinds)) == by_header
    assert outcome(identity({"Cookie": b"token=" + session(user_id)}, *kinds)) == by_session


def test_a_user_key_names_an_id_of_the_app_in_any_namespace() -> None:
    kinds = (OpenWebUIIdentity(SESSION_REF, None, "chat"), USER_KEY)
    given = {key_hash("skp_x"): KeyOwner("skai", "chat:bob")}
    identity = app_access(with_app(identity=kinds), SECRETS, given).identity
    assert identity.authenticate({b"Authorization": b"Bearer skp_x"}, NOW) == AuthenticatedUser("chat:bob", None)


def test_two_open_webuis_are_one_kind_with_the_secrets_of_both() -> None:
    kinds = (OPENWEBUI, OpenWebUIIdentity(OTHER_REF))
    for secret in (SESSION_SECRET, OTHER_SECRET):
        assert outcome(identity({"Cookie": b"token=" + session("alice", secret=secret)}, *kinds)) == "alice"
    assert len(access(*kinds).identity.credential_caches) == 1


def test_t32_a_kind_remembers_over_a_reload_that_did_not_change_it() -> None:
    cookie = {b"Cookie": b"token=" + A}
    before = access(OPENWEBUI, USER_KEY)
    before.identity.authenticate(cookie, NOW)
    assert _remembered(access(OPENWEBUI, USER_KEY, LITELLM, previous=before)) == 1
    assert _remembered(access(ASKED, USER_KEY, previous=before)) == 0
    assert _remembered(access(OpenWebUIIdentity(SESSION_REF, None, "chat"), previous=before)) == 0
    assert _remembered(access(OPENWEBUI, OpenWebUIIdentity(OTHER_REF), previous=before)) == 0
    assert SESSION_SECRET not in repr(before)


def _remembered(found: AppAccess) -> int:
    return sum(map(len, found.identity.credential_caches))


def test_a_changed_audience_forgets_what_was_verified_for_the_old_one() -> None:
    before = access(KIND)
    sent = {b"Authorization": b"Bearer " + signed()}
    assert outcome(before.identity.authenticate(sent, NOW)) == "alice"
    other = JwtIdentity(KIND.issuer, "other", JWKS_URL, KIND.algorithms, "Authorization", None)
    assert outcome(access(other, previous=before).identity.authenticate(sent, NOW)) == "wrong_audience"


def introspecting_openwebui() -> tuple[AppAccess, OpenWebUIVerifier]:
    found = access(ASKED)
    kind = found.identity.verifiers[0]
    assert isinstance(kind, OpenWebUIVerifier)
    return found, kind


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (A, "ask openwebui"),
        (KEY, "ask openwebui"),
        (session("alice", secret="not the app's secret at all, no no"), "wrong_signature"),
        (session("alice", expires_at=NOW - 30), "expired_token"),
        (token({"id": "alice", "typ": "automation"}), "wrong_token_type"),
        (b"junk", "malformed_token"),
        (b"sk-", "unknown_key"),
        (b"sk-" + b"x" * 201, "unknown_key"),
        (b"sk-0123456789abcdef\xe9", "unknown_key"),
        (b"sk-0123 4567", "unknown_key"),
    ],
)
def test_only_what_verifies_here_is_worth_asking_open_webui_for(credential: bytes, expected: str) -> None:
    for headers in (
        {"Authorization": b"Bearer " + credential},
        {"Cookie": b"token=" + credential},
        {"X-Api-Key": credential},
    ):
        assert outcome(identity(headers, ASKED)) == expected


def test_what_open_webui_confirmed_counts_for_thirty_seconds() -> None:
    found, kind = introspecting_openwebui()
    sent = {b"Cookie": b"token=" + A}
    assert found.identity.authenticate(sent, NOW) == CredentialLookup("openwebui", 0, A, "cookie:token")
    assert kind.confirm(A, "alice", NOW) == AuthenticatedUser("alice", NOW + 30)
    assert found.identity.authenticate(sent, NOW + 29) == AuthenticatedUser("alice", NOW + 30)
    assert outcome(found.identity.authenticate(sent, NOW + 30)) == "ask openwebui"


def test_a_session_that_open_webui_calls_another_users_is_nobodys() -> None:
    """Another Open WebUI with the same secret: its people are not this app's."""
    _, kind = introspecting_openwebui()
    with pytest.raises(NotAuthenticated) as refused:
        kind.confirm(A, "bob", NOW)
    assert refused.value.code == "wrong_user"
    for named in (None, 7, "", "a\nb", ["alice"]):
        with pytest.raises(NotAuthenticated):
            kind.confirm(KEY, named, NOW)


def test_a_confirmed_session_ends_with_its_token() -> None:
    found, kind = introspecting_openwebui()
    short = session("alice", expires_at=NOW - 20)
    assert kind.confirm(short, "alice", NOW) == AuthenticatedUser("alice", NOW + 10)
    digest = hashlib.sha256(short).digest()
    assert kind.introspection_cache.last_known_good(digest, NOW + 9) == AuthenticatedUser("alice", NOW + 10)
    assert kind.introspection_cache.last_known_good(digest, NOW + 10) is None
    assert outcome(found.identity.authenticate({b"Cookie": b"token=" + short}, NOW + 10)) == "expired_token"


def test_while_open_webui_does_not_answer_its_last_word_counts_for_an_hour() -> None:
    found, kind = introspecting_openwebui()
    digest, sent = hashlib.sha256(A).digest(), {b"Cookie": b"token=" + A}
    assert kind.introspection_cache.last_known_good(digest, NOW) is None
    kind.confirm(A, "alice", NOW)
    for now in (NOW + 100, NOW + 3590):
        assert outcome(found.identity.authenticate(sent, now)) == "ask openwebui"
        assert kind.introspection_cache.last_known_good(digest, now) == AuthenticatedUser("alice", now + 5)
        assert found.identity.authenticate(sent, now + 4) == AuthenticatedUser("alice", now + 5)
    assert kind.introspection_cache.last_known_good(digest, NOW + 3600) is None


def test_an_account_that_waits_for_activation_is_looked_up_anew_after_five_seconds() -> None:
    found, kind = introspecting_openwebui()
    digest, sent = hashlib.sha256(A).digest(), {b"Authorization": b"Bearer " + A}
    kind.introspection_cache.refuse(digest, "not_activated", NOW)
    assert outcome(found.identity.authenticate(sent, NOW + 4)) == "not_activated"
    assert outcome(found.identity.authenticate(sent, NOW + 5)) == "ask openwebui"


ADMINS_PASS = OpenWebUIIdentity(SESSION_REF, "http://open-webui:8080", admins="pass")


def test_an_administrator_is_one_for_as_long_as_the_confirmation_counts() -> None:
    found = access(ADMINS_PASS)
    kind = found.identity.verifiers[0]
    assert isinstance(kind, OpenWebUIVerifier)
    digest, sent = hashlib.sha256(A).digest(), {b"Cookie": b"token=" + A}
    assert isinstance(kind.confirm(A, "alice", NOW, "admin"), Administrator)
    assert isinstance(found.identity.authenticate(sent, NOW + 29), Administrator)
    assert outcome(found.identity.authenticate(sent, NOW + 30)) == "ask openwebui"
    # while Open WebUI does not answer, the role counts as long as the name
    assert isinstance(kind.introspection_cache.last_known_good(digest, NOW + 3599), Administrator)
    assert kind.introspection_cache.last_known_good(digest, NOW + 3600) is None
    kind.confirm(A, "alice", NOW, "admin")
    assert not isinstance(kind.confirm(A, "alice", NOW + 1, "user"), Administrator)
    assert not isinstance(found.identity.authenticate(sent, NOW + 2), Administrator)
    kind.confirm(A, "alice", NOW, "admin")
    kind.introspection_cache.refuse(digest, "revoked", NOW)
    assert not kind.introspection_cache.is_administrator(digest, NOW)


def test_an_administrator_is_anybody_where_apps_json_does_not_let_admins_pass() -> None:
    found, kind = introspecting_openwebui()
    assert not isinstance(kind.confirm(A, "alice", NOW, "admin"), Administrator)
    assert not isinstance(found.identity.authenticate({b"Cookie": b"token=" + A}, NOW), Administrator)


def test_letting_admins_pass_or_no_longer_forgets_what_was_remembered() -> None:
    before = access(ADMINS_PASS)
    kind = before.identity.verifiers[0]
    assert isinstance(kind, OpenWebUIVerifier)
    kind.confirm(A, "alice", NOW, "admin")
    assert _remembered(access(ADMINS_PASS, previous=before)) > 0
    assert _remembered(access(ASKED, previous=before)) == 0


def test_a_refusal_counts_for_thirty_seconds_and_ends_what_was_confirmed() -> None:
    found, kind = introspecting_openwebui()
    digest, sent = hashlib.sha256(A).digest(), {b"Cookie": b"token=" + A}
    assert kind.introspection_cache.last_user_id(digest, NOW) is None
    kind.confirm(A, "alice", NOW)
    assert kind.introspection_cache.last_user_id(digest, NOW + 3599) == "alice"
    kind.introspection_cache.refuse(digest, "revoked", NOW)
    assert kind.introspection_cache.last_user_id(digest, NOW) is None
    assert found.identity.authenticate(sent, NOW) == RejectedCredential(
        "revoked", "the session was ended; sign in again", "cookie:token"
    )
    assert outcome(found.identity.authenticate(sent, NOW + 30)) == "ask openwebui"
    assert kind.introspection_cache.last_known_good(digest, NOW + 30) is None


@pytest.mark.parametrize(
    ("template", "litellm_id", "expected"),
    [
        ("{user_id}", "alice", "alice"),
        ("{app_id}:{user_id}", "skai:alice", "alice"),
        ("{app_id}:{user_id}", "skai:skai:alice", "skai:alice"),
        ("{app_id}:{user_id}", "blog:alice", "unknown_key"),
        ("{app_id}:{user_id}", "alice", "unknown_key"),
        ("{app_id}:{user_id}", "skai:", "unknown_key"),
        ("u-{user_id}-{app_id}", "u-alice-skai", "alice"),
        ("u-{user_id}-{app_id}", "u-skai", "unknown_key"),
        ("u{user_id}u", "u", "unknown_key"),
        ("{user_id}", None, "unknown_key"),
        ("{user_id}", "", "unknown_key"),
        ("{user_id}", 7, "unknown_key"),
    ],
)
def test_litellm_user_ids_are_mapped_to_the_apps(template: str, litellm_id: object, expected: str) -> None:
    found = access(LITELLM, litellm=LiteLLMMode("internal_user", template))
    kind = found.identity.verifiers[0]
    assert isinstance(kind, LiteLLMKeyVerifier)
    sent = {b"Authorization": b"Bearer " + KEY}
    lookup = found.identity.authenticate(sent, NOW)
    assert isinstance(lookup, CredentialLookup)
    assert lookup == CredentialLookup("litellm_key", 0, DIGEST, "authorization")
    try:
        named = kind.confirm(lookup, litellm_id, NOW, None).user_id
    except NotAuthenticated as exc:
        named = exc.code
    else:
        assert found.identity.authenticate(sent, NOW + 29) == AuthenticatedUser(named, NOW + 30)
    assert named == expected

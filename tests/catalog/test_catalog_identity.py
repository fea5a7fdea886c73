"""The identity kinds of apps.json: what each must say, what none may, and where each looks for its credential."""

# ruff: noqa: E501  # a row of a table is one line, however long the message
from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from gateway.catalog import json_schema, parse
from gateway.catalog.identity import HeaderIdentity, JwtIdentity, LiteLLMKeyIdentity, OpenWebUIIdentity, UserKeyIdentity
from gateway.catalog.identity.kind import request_headers
from gateway.catalog.model import App
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import ConfigError

Kind = dict[str, Any]
OPENWEBUI: Kind = {"kind": "openwebui", "secret": "env:A"}
OTHER_OPENWEBUI: Kind = {"kind": "openwebui", "secret": "env:B"}
ASKED: Kind = {**OPENWEBUI, "introspect": "http://open-webui:8080"}
JWT: Kind = {
    "kind": "jwt",
    "issuer": "https://sso.example.com/realms/main",
    "audience": "skai",
    "jwks_url": "https://sso.example.com/realms/main/certs",
}
ACCESS: Kind = {**JWT, "header": "cf-access-jwt-assertion", "cookie": "CF_Authorization", "claim": "email"}
HEADER: Kind = {"kind": "header", "name": "remote-user", "after": "authelia@file"}
LITELLM: Kind = {"kind": "litellm_key"}
USER_KEY: Kind = {"kind": "user_key"}
OWN: Kind = {"namespace": ""}


def document(*kinds: Kind) -> dict[str, Any]:
    app = {
        "id": "skai", "name": "SKAI", "hosts": ["a.example"], "upstream": "http://a:1", "identity": list(kinds),
        "urls": {"success": "https://a.example/", "cancel": "https://a.example/"},
        "tiers": [{"id": "free", "name": "Free"}],
    }  # fmt: skip
    return {"apps": [app]}


def app(*kinds: Kind) -> App:
    return parse(json.dumps(document(*kinds)).encode()).apps["skai"]


def problems(*kinds: Kind) -> list[str]:
    """The problems, from `identity` on."""
    with pytest.raises(ConfigError) as caught:
        app(*kinds)
    return [line.removeprefix("apps.json: apps[0].") for line in caught.value.problems]


def without(kind: Kind, *keys: str) -> Kind:
    return {key: value for key, value in kind.items() if key not in keys}


def test_every_kind_is_parsed() -> None:
    assert app(ASKED).identity == (OpenWebUIIdentity(SecretRef("env", "A"), "http://open-webui:8080"),)
    assert app({**ASKED, "admins": "pass"}).identity == (
        OpenWebUIIdentity(SecretRef("env", "A"), "http://open-webui:8080", admins="pass"),
    )
    common = (JWT["issuer"], "skai", JWT["jwks_url"])
    assert app(JWT).identity == (JwtIdentity(*common, ("RS256", "ES256", "EdDSA"), "Authorization", None),)
    assert app({**ACCESS, "algorithms": ["PS512"], "namespace": "cf"}).identity == (
        JwtIdentity(*common, ("PS512",), "cf-access-jwt-assertion", "CF_Authorization", "email", "cf"),
    )
    assert app({**JWT, "cookie": "session"}).identity == (
        JwtIdentity(*common, ("RS256", "ES256", "EdDSA"), None, "session"),
    )
    assert app(HEADER).identity == (HeaderIdentity("remote-user", "authelia@file"),)
    assert app(LITELLM, USER_KEY).identity == (LiteLLMKeyIdentity(), UserKeyIdentity())
    assert app({**HEADER, "namespace": ""}).identity == app(HEADER).identity


@pytest.mark.parametrize(
    ("kinds", "headers"),
    [
        ([OPENWEBUI], ("Authorization", "Cookie", "X-Api-Key")),
        ([JWT], ("Authorization",)),
        ([{**JWT, "cookie": "c"}], ("Cookie",)),
        ([ACCESS], ("Cf-Access-Jwt-Assertion", "Cookie")),
        ([HEADER], ("Remote-User",)),
        ([LITELLM], ("Authorization", "X-Api-Key")),
        ([USER_KEY], ("Authorization",)),
        (
            [{**HEADER, **OWN}, USER_KEY, {**OPENWEBUI, "namespace": "chat"}],
            ("Remote-User", "Authorization", "Cookie", "X-Api-Key"),
        ),
    ],
)
def test_request_headers_are_canonical_names_of_go(kinds: list[Kind], headers: tuple[str, ...]) -> None:
    assert request_headers(app(*kinds).identity) == headers


HEADER_NAME = 'expected a header, such as "Cf-Access-Jwt-Assertion"'
TRUSTED = 'expected a header, such as "Remote-User"'
MIDDLEWARE = 'expected a Traefik middleware with its provider, such as "authelia@file"'
LETTERS = "only letters, digits and - are allowed, as backends read anything else in several ways"
TAKEN = "this header has another meaning"
ONE_KIND: list[tuple[Kind, list[str]]] = [
    (without(OPENWEBUI, "secret"), ["identity[0].secret: required for openwebui: where its WEBUI_SECRET_KEY is"]),
    (without(JWT, "issuer"), ["identity[0].issuer: required for jwt: the iss of its tokens"]),
    (without(JWT, "audience"), ["identity[0].audience: required for jwt: the aud of its tokens; without it, tokens for other apps would be accepted"]),
    ({**JWT, "audience": None}, ["identity[0].audience: required for jwt: the aud of its tokens; without it, tokens for other apps would be accepted"]),
    ({**JWT, "audience": ""}, ['identity[0].audience: expected an audience, such as "skai", got ""']),
    ({**JWT, "audience": ["a", "b"]}, ['identity[0].audience: expected an audience, such as "skai", got a list']),
    (without(JWT, "jwks_url"), ["identity[0].jwks_url: required for jwt: the URL of its public keys"]),
    (without(HEADER, "after"), ["identity[0].after: required for header: the Traefik middleware that sets the header; without it, any client could"]),
    ({**HEADER, "after": None}, ["identity[0].after: required for header: the Traefik middleware that sets the header; without it, any client could"]),
    (without(HEADER, "name"), ["identity[0].name: required for header: the header that holds the user's id"]),
    ({**JWT, "secret": "env:A"}, ["identity[0].secret: not a key of kind jwt, which has issuer, audience, jwks_url, algorithms, header, cookie, claim, namespace"]),
    ({**OPENWEBUI, "admins": "pass"}, ["identity[0].admins: only with introspect: a session does not hold the role, so Open WebUI is asked"]),
    ({**ASKED, "admins": "all"}, ['identity[0].admins: expected "pass", got "all"']),
    ({**LITELLM, "admins": "pass"}, ["identity[0].admins: not a key of kind litellm_key, which has namespace"]),
    ({**OPENWEBUI, "issuer": "x"}, ["identity[0].issuer: not a key of kind openwebui, which has secret, introspect, namespace, admins"]),
    ({**HEADER, "cookie": "x"}, ["identity[0].cookie: not a key of kind header, which has name, after, namespace"]),
    ({**LITELLM, "secret": "env:A"}, ["identity[0].secret: not a key of kind litellm_key, which has namespace"]),
    ({**USER_KEY, "namespace": ""}, ["identity[0].namespace: not a key of kind user_key, which has none; its ids are the app's own"]),
    ({**JWT, "algorithms": ["HS256"]}, ['identity[0].algorithms[0]: expected an algorithm with a public key, such as "RS256", got "HS256"']),
    ({**JWT, "algorithms": ["none"]}, ['identity[0].algorithms[0]: expected an algorithm with a public key, such as "RS256", got "none"']),
    ({**JWT, "algorithms": []}, ["identity[0].algorithms: expected at least one, got an empty list"]),
    ({**JWT, "jwks_url": "file:///etc/passwd"}, ['identity[0].jwks_url: expected a URL, such as "https://chat.example.com/", got "file:///etc/passwd": it must start with http:// or https://']),
    ({**ASKED, "introspect": "http://a/api"}, ['identity[0].introspect: expected the URL of a service, such as "http://open-webui:8080", got "http://a/api": no path']),
    ({**JWT, "header": "X_Token"}, [f'identity[0].header: {HEADER_NAME}, got "X_Token": {LETTERS}']),
    ({**JWT, "header": "Cookie"}, [f'identity[0].header: {HEADER_NAME}, got "Cookie": {TAKEN}']),
    ({**JWT, "cookie": "a b"}, ['identity[0].cookie: expected a cookie\'s name, such as "CF_Authorization", got "a b"']),
    ({**HEADER, "name": "Remote_User"}, [f'identity[0].name: {TRUSTED}, got "Remote_User": {LETTERS}']),
    ({**HEADER, "name": "X-SK-User"}, [f'identity[0].name: {TRUSTED}, got "X-SK-User": {TAKEN}']),
    ({**HEADER, "name": "x--sk-user"}, [f'identity[0].name: {TRUSTED}, got "x--sk-user": {TAKEN}']),
    ({**HEADER, "name": "X-Forwarded-Uri"}, [f'identity[0].name: {TRUSTED}, got "X-Forwarded-Uri": {TAKEN}']),
    ({**HEADER, "name": "X-Original-URL"}, [f'identity[0].name: {TRUSTED}, got "X-Original-URL": {TAKEN}']),
    ({**JWT, "header": "x-rewrite-uri"}, [f'identity[0].header: {HEADER_NAME}, got "x-rewrite-uri": {TAKEN}']),
    ({**HEADER, "name": "X-HTTP-Method-Override"}, [f'identity[0].name: {TRUSTED}, got "X-HTTP-Method-Override": {TAKEN}']),
    ({**HEADER, "name": "Authorization"}, [f'identity[0].name: {TRUSTED}, got "Authorization": clients send their own credentials in it']),
    ({**HEADER, "name": "x-api-key"}, [f'identity[0].name: {TRUSTED}, got "x-api-key": clients send their own credentials in it']),
    ({**HEADER, "after": "authelia"}, [f'identity[0].after: {MIDDLEWARE}, got "authelia": its name, @ and the provider that defines it']),
    ({**HEADER, "after": "a@file,b@file"}, [f'identity[0].after: {MIDDLEWARE}, got "a@file,b@file": its name, @ and the provider that defines it']),
    ({**HEADER, "after": "sk-in@file"}, [f'identity[0].after: {MIDDLEWARE}, got "sk-in@file": sk-… are generated by SKPayments, and none of them sets a user']),
    ({**OPENWEBUI, "namespace": "A"}, ['identity[0].namespace: expected "", or a-z, 0-9 and -, 32 characters at most, got "A"']),
    ({**OPENWEBUI, "namespace": "a:b"}, ['identity[0].namespace: expected "", or a-z, 0-9 and -, 32 characters at most, got "a:b"']),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "lines"), ONE_KIND, ids=lambda item: repr(item)[:60])
def test_problems_of_one_kind(kind: Kind, lines: list[str]) -> None:
    assert problems(kind) == lines


MAPPED = (
    "required, as this app finds users in more than one way and a name of one could be another person in the other: "
    '"" for the app\'s own ids, else a word that goes before them'
)
SEVERAL: list[tuple[list[Kind], list[str]]] = [
    ([{**HEADER}, {**JWT}], [f"identity[0].namespace: {MAPPED}", f"identity[1].namespace: {MAPPED}"]),
    ([{**HEADER, **OWN}, OPENWEBUI], [f"identity[1].namespace: {MAPPED}"]),
    ([{**LITELLM, "namespace": None}, {**HEADER, **OWN}], [f"identity[0].namespace: {MAPPED}"]),
    ([OPENWEBUI, {**OTHER_OPENWEBUI, "namespace": "b"}],
     ["identity[1].namespace: expected the same as at apps[0].identity[0], or both would name one person differently"]),
    ([{**ASKED}, OTHER_OPENWEBUI],
     ["identity[0].introspect: allowed only in an app with one openwebui entry; another is at apps[0].identity[1]"]),
    ([USER_KEY, USER_KEY],
     ["identity[1]: user_key takes keys that start with skp_ in Authorization, which user_key at apps[0].identity[0] does too"]),
    ([{**LITELLM, **OWN}, {**LITELLM, **OWN}],
     ["identity[1]: litellm_key takes keys that start with sk- in Authorization, which litellm_key at apps[0].identity[0] does too"]),
    ([{**OPENWEBUI, **OWN}, {**JWT, **OWN}],
     ["identity[1]: jwt takes tokens in Authorization, which openwebui at apps[0].identity[0] does too"]),
    ([{**OPENWEBUI, **OWN}, {**JWT, **OWN, "cookie": "token"}],
     ["identity[1]: jwt takes tokens in the cookie token, which openwebui at apps[0].identity[0] does too"]),
    ([{**JWT, **OWN, "header": "X-API-KEY"}, {**OPENWEBUI, **OWN}],
     ["identity[1]: openwebui takes tokens in X-Api-Key, which jwt at apps[0].identity[0] does too"]),
    ([{**ASKED, **OWN}, {**LITELLM, **OWN}],
     ["identity[1]: litellm_key takes keys that start with sk- in Authorization, which openwebui at apps[0].identity[0] does too"]),
    ([{**HEADER, **OWN}, {**HEADER, **OWN, "name": "Remote-User", "after": "b@file"}],
     ["identity[1]: header takes tokens in Remote-User, which header at apps[0].identity[0] does too"]),
    ([{**JWT, **OWN, "header": "Remote-User"}, {**HEADER, **OWN}],
     ["identity[1]: header takes tokens in Remote-User, which jwt at apps[0].identity[0] does too"]),
    ([{**JWT, **OWN}, {**JWT, **OWN, "issuer": "https://b"}],
     ["identity[1]: jwt takes tokens in Authorization, which jwt at apps[0].identity[0] does too"]),
]  # fmt: skip


@pytest.mark.parametrize(("kinds", "lines"), SEVERAL, ids=lambda item: repr(item)[:60])
def test_problems_between_kinds(kinds: list[Kind], lines: list[str]) -> None:
    assert problems(*kinds) == lines


@pytest.mark.parametrize(
    "kinds",
    [
        [OPENWEBUI, OTHER_OPENWEBUI, USER_KEY],
        [{**OPENWEBUI, "namespace": "a"}, {**OTHER_OPENWEBUI, "namespace": "a"}],
        [{**OPENWEBUI, **OWN}, {**LITELLM, "namespace": "api"}, USER_KEY],
        [{**OPENWEBUI, **OWN}, {**ACCESS, "namespace": "cf"}],
        [{**JWT, **OWN}, {**ACCESS, **OWN}, {**LITELLM, **OWN}, USER_KEY],
        [JWT, USER_KEY],
    ],
)
def test_valid_combinations_of_kinds(kinds: list[Kind]) -> None:
    assert len(app(*kinds).identity) == len(kinds)
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(document(*kinds)))


@pytest.mark.parametrize("kind", [kind for kind, lines in ONE_KIND if "required" in lines[0] or " has no " in lines[0]])
def test_the_schema_knows_which_keys_a_kind_has(kind: Kind) -> None:
    if None not in kind.values():  # null stands for a key left out, which a schema cannot say
        assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(document(kind)))

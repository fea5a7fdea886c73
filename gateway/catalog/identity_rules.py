"""The rules of apps.json's `identity`, run over the raw tree as those of `rules`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.catalog.document import Path, Problem, path_text
from gateway.catalog.identity_headers import CredentialLocation, CredentialPrefix, credential_locations

Raw = Mapping[str, object]
Kinds = Sequence[tuple[Path, Raw]]

REQUIRED: Mapping[str, Mapping[str, str]] = {
    "openwebui": {"secret": "where its WEBUI_SECRET_KEY is"},
    "jwt": {
        "issuer": "what its tokens hold as iss",
        "audience": "what they hold as aud, or tokens for any other app would do",
        "jwks_url": "where its public keys are",
    },
    "header": {
        "name": "the header that holds the user",
        "after": "the Traefik middleware that sets it, as anybody could send the header",
    },
    "litellm_key": {},
    "user_key": {},
}
"""Kind → the keys that it must have, and why."""
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "openwebui": ("introspect", "namespace", "admins"),
    "jwt": ("algorithms", "header", "cookie", "claim", "namespace"),
    "header": ("namespace",),
    "litellm_key": ("namespace",),
    "user_key": (),
}
_ALL_KEYS = dict.fromkeys(key for name in REQUIRED for key in (*REQUIRED[name], *OPTIONAL[name]))
# Each names users by itself; a user key names one of the app's own ids.
_KINDS_WITH_NAMESPACE = ("openwebui", "jwt", "header", "litellm_key")
_WHY_KEY_IS_REFUSED = {
    ("user_key", "secret"): "; its keys are kept hashed",
    ("user_key", "namespace"): "; its ids are the app's own",
}
_FORMS = {"": "tokens", "sk-": "keys that start with sk-", "skp_": "keys that start with skp_"}


def identity_problems(path: Path, app: Raw) -> Iterator[Problem]:
    """Everything about the identity kinds of one app."""
    items = app.get("identity")
    kinds = [
        ((*path, "identity", number), kind)
        for number, kind in enumerate(items if isinstance(items, list) else ())
        if isinstance(kind, dict)
    ]
    for rule in (_keys, _one_introspection, _admins, _namespaces, _shared_credentials):
        yield from rule(kinds)


def _name(kind: Raw) -> str:
    name = kind.get("kind")
    return name if isinstance(name, str) else ""


def _keys(kinds: Kinds) -> Iterator[Problem]:
    for path, kind in kinds:
        name = _name(kind)
        if name not in REQUIRED:
            continue
        for key, why in REQUIRED[name].items():
            if kind.get(key) is None:
                yield (*path, key), f"required for {name}: {why}"
        allowed = {"kind", *REQUIRED[name], *OPTIONAL[name]}
        for key in kind:
            if key in _ALL_KEYS and key not in allowed:
                yield (*path, key), f"{name} has no {key}{_WHY_KEY_IS_REFUSED.get((name, key), '')}"


def _one_introspection(kinds: Kinds) -> Iterator[Problem]:
    """Two Open WebUIs may share an app, but then nobody could say which of them knows a session."""
    places = [path for path, kind in kinds if _name(kind) == "openwebui"]
    for path, kind in kinds:
        if path in places and kind.get("introspect") is not None and len(places) > 1:
            other = next(place for place in places if place != path)
            problem = f"only where it is the app's one openwebui; another stands at {path_text(other)}"
            yield (*path, "introspect"), problem


def _admins(kinds: Kinds) -> Iterator[Problem]:
    """A session does not say its user's role: only Open WebUI does."""
    for path, kind in kinds:
        if _name(kind) == "openwebui" and kind.get("admins") is not None and kind.get("introspect") is None:
            yield (*path, "admins"), "only with introspect: a session does not hold the role, so Open WebUI is asked"


def _namespaces(kinds: Kinds) -> Iterator[Problem]:
    """Where ids come from two sources, one's must not be taken for the other's by chance (T31)."""
    sources = [(path, kind) for path, kind in kinds if _name(kind) in _KINDS_WITH_NAMESPACE]
    openwebui = [(path, kind) for path, kind in sources if _name(kind) == "openwebui"]
    if len(sources) - max(0, len(openwebui) - 1) > 1:
        for path, kind in sources:
            if kind.get("namespace") is None:
                yield (
                    (*path, "namespace"),
                    "required, as this app finds users in more than one way and a name of one could be another person "
                    'in the other: "" for the app\'s own ids, else a word that goes before them',
                )
    for path, kind in openwebui[1:]:
        if kind.get("namespace") != openwebui[0][1].get("namespace"):
            problem = f"expected the same as at {path_text(openwebui[0][0])}, or both would name one person differently"
            yield (*path, "namespace"), problem


def _shared_credentials(kinds: Kinds) -> Iterator[Problem]:
    """Two kinds that take the same credential: nobody could say whose it is."""
    first: dict[tuple[CredentialLocation, CredentialPrefix], tuple[Path, str]] = {}
    for path, kind in kinds:
        name = _name(kind)
        for place, form in _credential_locations(name, kind):
            before, before_name = first.setdefault((place, form), (path, name))
            if before != path and not name == before_name == "openwebui":
                yield (
                    path,
                    f"{name} takes {_FORMS[form]} in {place}, which {before_name} at {path_text(before)} does too",
                )
                break


def _credential_locations(name: str, kind: Raw) -> Iterator[tuple[CredentialLocation, CredentialPrefix]]:
    header, cookie = kind.get("name" if name == "header" else "header"), kind.get("cookie")
    return credential_locations(
        name,
        header=header if isinstance(header, str) else None,
        cookie=cookie if isinstance(cookie, str) else None,
        introspects=kind.get("introspect") is not None,
    )


def identity_kind_schema() -> dict[str, Any]:
    """The same for an editor: which keys each kind has."""
    return {
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}},
                "then": {
                    "required": list(required),
                    "properties": {key: False for key in _ALL_KEYS if key not in (*required, *OPTIONAL[name])},
                },
            }
            for name, required in REQUIRED.items()
        ]
    }

"""The rules of apps.json's `identity` that apply to all kinds, checked over the raw tree. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.catalog.document import Path, Problem, path_text
from gateway.catalog.identity.kind import Entries, IdentityKind
from gateway.catalog.identity.location import PrefixedLocation
from gateway.catalog.identity.registry import ALL_KEYS, KINDS
from gateway.catalog.tree import Raw, objects

_CREDENTIALS = {"": "tokens", "sk-": "keys that start with sk-", "skp_": "keys that start with skp_"}


def identity_problems(path: Path, app: Raw) -> Iterator[Problem]:
    """Everything that is wrong with the identity kinds of one app. Entries of an unknown kind are skipped."""
    entries = [(at, entry) for at, entry in objects(app, (*path, "identity")) if kind_of(entry) is not None]
    yield from _keys(entries)
    for kind in KINDS.values():
        yield from kind.problems([(at, entry) for at, entry in entries if entry["kind"] == kind.kind])
    yield from _namespaces(entries)
    yield from _shared_credentials(entries)


def kind_of(entry: Raw) -> type[IdentityKind] | None:
    """The kind of an entry; None if there is none of its name."""
    name = entry.get("kind")
    return KINDS.get(name) if isinstance(name, str) else None


def _known(entries: Entries) -> Iterator[tuple[Path, Raw, type[IdentityKind]]]:
    for path, entry in entries:
        yield path, entry, KINDS[str(entry["kind"])]


def _keys(entries: Entries) -> Iterator[Problem]:
    for path, entry, kind in _known(entries):
        for key, why in kind.required.items():
            if entry.get(key) is None:
                yield (*path, key), f"required for {kind.kind}: {why}"
        for key in entry:
            if key in ALL_KEYS and key not in (*kind.required, *kind.optional):
                yield (*path, key), f"not a key of kind {kind.kind}, {_its_keys(kind)}{kind.why_refused.get(key, '')}"


def _its_keys(kind: type[IdentityKind]) -> str:
    keys = (*kind.required, *kind.optional)
    return f"which has {', '.join(keys)}" if keys else "which has none"


def _namespaces(entries: Entries) -> Iterator[Problem]:
    """With two sources of ids, an id of one must never be taken for an id of the other (T31)."""
    named = [(path, entry, kind) for path, entry, kind in _known(entries) if "namespace" in kind.optional]
    sources = {(kind.kind,) if kind.entries_share_one_source else path for path, _, kind in named}
    first: dict[str, tuple[Path, object]] = {}
    for path, entry, kind in named:
        namespace = entry.get("namespace")
        if len(sources) > 1 and namespace is None:
            yield (
                (*path, "namespace"),
                "required, as this app finds users in more than one way and a name of one could be another person "
                'in the other: "" for the app\'s own ids, else a word that goes before them',
            )
        if kind.entries_share_one_source:
            before, expected = first.setdefault(kind.kind, (path, namespace))
            if namespace != expected:
                problem = f"expected the same as at {path_text(before)}, or both would name one person differently"
                yield (*path, "namespace"), problem


def _shared_credentials(entries: Entries) -> Iterator[Problem]:
    """If two kinds read the same credential, it is undefined which user it identifies."""
    first: dict[PrefixedLocation, tuple[Path, str]] = {}
    for path, entry, kind in _known(entries):
        for location, prefix in kind.entry_locations(entry):
            before, name = first.setdefault((location, prefix), (path, kind.kind))
            if before != path and not (kind.entries_share_one_source and name == kind.kind):
                yield (
                    path,
                    f"{kind.kind} takes {_CREDENTIALS[prefix]} in {location}, which {name} at {path_text(before)} "
                    "does too",
                )
                break

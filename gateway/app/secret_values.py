"""Reads the secrets that apps.json names: split into new and old ones, or taken verbatim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.catalog.model import Catalog
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secret, Secrets, read_secret_text, secret_problem, split_secret, split_vendor_key

MIN_PART_BYTES = 16
"""A shorter part of a longer text is no secret by itself: it could be guessed, where the whole could not."""


def is_external(path: str) -> bool:
    """Whether the secret at this place of apps.json is defined by another program, which takes the value verbatim:
    those of identity kinds (WEBUI_SECRET_KEY)."""
    return path.endswith("].secret")


def is_foreign_key(path: str) -> bool:
    """Whether the secret at this place of apps.json is a key that is sent to the program that issued it."""
    return path.endswith(".litellm.shared_key")


def read_secret_ref(
    ref: SecretRef, environ: Mapping[str, str], *, external: bool = False, foreign_key: bool = False
) -> Secrets:
    """The secret behind a reference, newest first. With `external` first the verbatim value, then the parts of
    `new,old`; with `foreign_key` the other way round. Raises `ValueError` with the problem, never the value."""
    text = _text(ref, environ)
    if external:
        found = _as_it_stands(text, ref)
    else:
        split = split_vendor_key if foreign_key else split_secret
        found = split(text.rstrip("\r\n") if ref.kind == "file" else text)
    values = [secret.reveal() for secret in found[:1] if external] or [secret.reveal() for secret in found] or [text]
    problem = next(filter(None, (secret_problem(_printable(value) if external else value) for value in values)), None)
    if problem:
        raise ValueError(problem)
    return found


def ambiguous_secrets(catalog: Catalog, environ: Mapping[str, str]) -> list[tuple[str, SecretRef]]:
    """The places in apps.json of external secrets with an ambiguous value; unreadable ones are skipped."""
    found: list[tuple[str, SecretRef]] = []
    for path, ref in catalog.secret_refs():
        try:
            text = _text(ref, environ) if is_external(path) else ""
        except ValueError:
            continue
        whole = _without_line_break(text) if ref.kind == "file" else text
        if whole and [secret.reveal() for secret in split_secret(text)] != [whole]:
            found.append((path, ref))
    return found


def _text(ref: SecretRef, environ: Mapping[str, str]) -> str:
    if ref.kind == "file":
        try:
            return read_secret_text(Path(ref.name))
        except OSError as exc:
            raise ValueError(f"cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ValueError("is no UTF-8 text") from exc
    if ref.name not in environ:
        raise ValueError("is not set in the environment")
    try:
        environ[ref.name].encode()
    except UnicodeEncodeError as exc:
        raise ValueError("is no UTF-8 text") from exc
    return environ[ref.name]


def _as_it_stands(text: str, ref: SecretRef) -> Secrets:
    """A file's last line break is not part of its value, as in Docker and shells; but the other program may keep it, so
    both forms are accepted."""
    parts = [
        part
        for part in split_secret(text)
        if len(part.reveal().encode()) >= MIN_PART_BYTES and not secret_problem(part.reveal())
    ]
    whole = [_without_line_break(text), text] if ref.kind == "file" else [text]
    return tuple(dict.fromkeys([*(Secret(value) for value in whole if value), *parts]))


def _without_line_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _printable(text: str) -> str:
    """Line breaks and the like are part of another program's secret, and no fault."""
    return "".join(letter if letter.isprintable() else " " for letter in text)

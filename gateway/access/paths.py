"""The ways in which apps may interpret a request path: public rules match literally, paid rules any reading. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from gateway.access.percent import percent_decode

_CHARS = r"A-Za-z0-9_~!$&'()*+,=:@\-"
_PLAIN = re.compile(rf"/[{_CHARS}./]*")
# `.` and `..`, and dots and spaces at the end of a segment, which Windows ignores.
_DOTS = re.compile(r"[. ](?:/|$)")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What makes a decoded path ambiguous: an escape, another separator, a parameter, a control or non-ASCII character.
_AMBIGUOUS = re.compile(r"[%\\;?#\x00-\x1f\x7f]|[^\x00-\x7f]")
# Unauthenticated clients send paths, and parsing one blocks the event loop: none may take much longer than a
# millisecond.
_MAX_LENGTH = 16_384
_MAX_AMBIGUOUS_LENGTH = 2048
_MAX_READINGS = 32
_MAX_READ = 4096  # characters, of all readings together
_MAX_NOT_ASCII = 256  # one character may become eighteen
_MAX_KEPT_LENGTH = 256


class Path(NamedTuple):
    """`literal`: the path if it has one interpretation, else None. `readings`: every interpretation that some app may
    have, case folded; None if there are too many, and then any rule may match.

    Both in normal form, which ends with a slash: a prefix covers a path by whole segments exactly when the path's
    normal form starts with the prefix's. /pro/ covers /pro and /pro/x, never /protected.
    """

    literal: str | None
    readings: tuple[str, ...] | None


def normal(path: str) -> str:
    """Normal form: one slash before, between and after the segments."""
    parts = [part for part in path.split("/") if part]
    return f"/{'/'.join(parts)}/" if parts else "/"


def _decode(text: str) -> str:
    if "%" not in text:
        return text
    return percent_decode(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _overlong(text: str) -> str:
    """Decode C0 AF and C0 AE: slash and dot to decoders that accept overlong UTF-8."""
    raw = text.encode("utf-8", "surrogateescape")
    return raw.replace(b"\xc0\xaf", b"/").replace(b"\xc0\xae", b".").decode("utf-8", "surrogateescape")


def _resolve_dots(text: str) -> str:
    """RFC 3986 5.2.4, over all segments including empty ones."""
    if "/." not in text:
        return text
    kept: list[str] = []
    for part in text.split("/")[1:]:
        if part == "..":
            if kept:
                kept.pop()
        elif part != ".":
            kept.append(part)
    return "/" + "/".join(kept)


@lru_cache(maxsize=4096)
def _ascii_equivalent(char: str) -> str:
    """The NFKC form of a character if that contains ASCII, else the character: no rule depends on the difference."""
    normalized = unicodedata.normalize("NFKC", char)
    return normalized if any(each < "\x80" for each in normalized) else char


def _compatible(text: str) -> str:
    """Replace full-width slashes and letters by ASCII, as frameworks do that normalize Unicode.

    Each character separately: normalizing a whole text sorts runs of combining marks in quadratic time. What it would
    compose is not ASCII, so no rule depends on it.
    """
    if text.isascii():
        return text
    table = {ord(char): plain for char in set(text) if char > "\x7f" and (plain := _ascii_equivalent(char)) != char}
    return text.translate(table) if table else text


# Each run of spaces or dots is matched once, from its beginning: otherwise a run of n takes n² steps.
_TRAILING_SPACES = re.compile(r"(?<! ) ++(?=/|$)")
_TRAILING_DOTS = re.compile(r"(?<=[^/.])\.++(?=/|$)")

# What an app, its framework or a proxy in between may do to a path, in any order. Each is linear.
_TRANSFORMS: tuple[Callable[[str], str], ...] = (
    _decode,
    _resolve_dots,
    lambda text: re.sub(r"//+", "/", text) if "//" in text else text,
    lambda text: text.replace("\\", "/"),
    lambda text: re.sub(r";[^/]*", "", text),
    lambda text: _TRAILING_SPACES.sub("", text) if " " in text else text,
    lambda text: _TRAILING_DOTS.sub("", text) if "." in text else text,
    lambda text: text.partition("?")[0].partition("#")[0],
    lambda text: text.partition("\x00")[0],
    lambda text: _CONTROL.sub("", text),
    _overlong,
    _compatible,
)


def _readings(path: str) -> tuple[str, ...] | None:
    """All results of applying the transforms to `path` in any order; None if there are too many."""
    if len(path) > _MAX_AMBIGUOUS_LENGTH or len(_NOT_ASCII.findall(path)) > _MAX_NOT_ASCII:
        return None
    seen = {path}
    todo = [path]
    read = len(path)
    while todo:
        text = todo.pop()
        for transform in _TRANSFORMS:
            reading = transform(text)
            if reading not in seen:
                read += len(reading)
                if len(seen) >= _MAX_READINGS or read > _MAX_READ:
                    return None
                seen.add(reading)
                todo.append(reading)
    return tuple({normal(reading.casefold()) for reading in seen})


is_plain = re.compile(rf"/(?:[{_CHARS}]++(?:(?:/|\.++)[{_CHARS}]++)*+/?)?(?:\?[!-~]*)?".encode()).fullmatch
"""Matches a plain request target, such as `/a/b?c=d`: visible ASCII only, whose path has one interpretation except for
its case. Its segments consist of plain characters and dots, none is empty, none begins or ends with a dot; so it is
none of our own paths. Any other target needs `read_path`."""


def plain_path(target: bytes) -> Path:
    """`read_path` for a plain target."""
    path = target.partition(b"?")[0].decode()
    literal = path if path[-1] == "/" else path + "/"
    return Path(literal, (literal.lower(),))


def read_path(uri: str) -> Path:
    """The path of a request target such as `/a/b?c=d`; the caller has checked that it starts with a slash.

    `%20` and `%41` are unambiguous and are decoded; a path with anything ambiguous has no literal form, so no public
    rule matches it.
    """
    path = uri.partition("?")[0] if "?" in uri else uri
    if len(path) <= _MAX_KEPT_LENGTH:
        return _read_cached(path)
    return _read(path) if len(path) <= _MAX_LENGTH else Path(None, None)


def _read(path: str) -> Path:
    if _PLAIN.fullmatch(path) and "//" not in path and not (("./" in path or path[-1] == ".") and _DOTS.search(path)):
        literal = path if path[-1] == "/" else path + "/"
        return Path(literal, (literal.lower(),))
    decoded = _decode(path)
    one_way = not _AMBIGUOUS.search(decoded) and decoded.count("/") == path.count("/")
    if one_way and "//" not in decoded and not _DOTS.search(decoded):
        return Path(normal(decoded), (normal(decoded.casefold()), normal(path.casefold())))
    return Path(None, _readings(path))


# The same paths are requested again and again; a hit takes a tenth of the time.
_read_cached = lru_cache(maxsize=4096)(_read)

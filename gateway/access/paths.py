"""A request path as apps may read it: literally for what is public, in every way for what is paid. Pure."""

from __future__ import annotations

import re
import unicodedata
from binascii import a2b_qp
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

_CHARS = r"A-Za-z0-9_~!$&'()*+,=:@\-"
_PLAIN = re.compile(rf"/[{_CHARS}./]*")
# `.` and `..`, and what Windows reads as the name without it: dots and spaces at the end of a part.
_DOTS = re.compile(r"[. ](?:/|$)")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What makes a path odd once it is decoded: another escape, another separator, a parameter, a control, no ASCII.
_AMBIGUOUS = re.compile(r"[%\\;?#\x00-\x1f\x7f]|[^\x00-\x7f]")
# Whoever sends a path pays nothing for it, and the loop that reads it serves everybody: none may take much longer
# than a millisecond.
_MAX_LENGTH = 16_384
_MAX_AMBIGUOUS_LENGTH = 2048
_MAX_READINGS = 32
_MAX_READ = 4096  # characters, of all readings together
_MAX_NOT_ASCII = 256  # one character may become eighteen
_MAX_KEPT_LENGTH = 256


class Path(NamedTuple):
    """`literal`: the path if it can be read in one way only, else None. `readings`: every way in which some app may
    read it, case folded; None if there are too many to tell, and then it may be anything.

    Both in normal form, which ends with a slash: a path is under a prefix by whole segments exactly when its normal
    form starts with the prefix's. /pro/ covers /pro and /pro/x, never /protected.
    """

    literal: str | None
    readings: tuple[str, ...] | None


def normal(path: str) -> str:
    """Normal form: one slash before, between and after the parts."""
    parts = [part for part in path.split("/") if part]
    return f"/{'/'.join(parts)}/" if parts else "/"


def _decode(text: str) -> str:
    """Every valid percent-escape as its byte, once. As `unquote_to_bytes` does it, in a tenth of the time: in C, by the
    decoder of quoted-printable, which is the same with another sign."""
    if "%" not in text:
        return text
    raw = _NO_ESCAPE.sub(b"%25", text.encode("utf-8", "surrogateescape"))
    return a2b_qp(raw.replace(b"=", b"%3D").replace(b"%", b"=")).decode("utf-8", "surrogateescape")


def _overlong(text: str) -> str:
    """C0 AF and C0 AE: slash and dot to decoders that do not refuse overlong UTF-8."""
    raw = text.encode("utf-8", "surrogateescape")
    return raw.replace(b"\xc0\xaf", b"/").replace(b"\xc0\xae", b".").decode("utf-8", "surrogateescape")


def _resolve_dots(text: str) -> str:
    """RFC 3986 5.2.4 over the parts as they stand, empty ones counted."""
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
    """What a character is to frameworks that normalize, if that has ASCII in it; else itself: no rule can tell."""
    normalized = unicodedata.normalize("NFKC", char)
    return normalized if any(each < "\x80" for each in normalized) else char


def _compatible(text: str) -> str:
    """Full-width slashes and letters as the ASCII ones that some frameworks make of them.

    Each character by itself: over a whole text, normalizing sorts runs of combining marks in quadratic time. What that
    would compose is no ASCII, so no rule is about it.
    """
    if text.isascii():
        return text
    twins = {ord(char): twin for char in set(text) if char > "\x7f" and (twin := _ascii_equivalent(char)) != char}
    return text.translate(twins) if twins else text


# Each run of spaces or dots is looked at once, from its beginning: without that a run of n takes n² steps.
_TRAILING_SPACES = re.compile(r"(?<! ) ++(?=/|$)")
_TRAILING_DOTS = re.compile(r"(?<=[^/.])\.++(?=/|$)")

# What an app, its framework or a proxy in between may do to a path; any of them in any order. Each is linear.
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
    """Everything that the transforms can make of `path`, in any order; None if that is too much to follow."""
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
"""None for a request target whose path only `read_path` can read. That of most, such as `/a/b?c=d`, can be read in one
way but for its case: its parts are of plain characters and dots, none is empty, none begins or ends with a dot. So none
is ours, and every byte is visible ASCII."""


def plain_path(target: bytes) -> Path:
    """What `read_path` makes of a target that is plain."""
    path = target.partition(b"?")[0].decode()
    literal = path if path[-1] == "/" else path + "/"
    return Path(literal, (literal.lower(),))


def read_path(uri: str) -> Path:
    """The path of a request target such as `/a/b?c=d`; the caller has checked that it starts with a slash.

    `%20` or `%41` are no reason for doubt and are decoded; a path with anything else odd in it has no literal form,
    so nothing public matches it.
    """
    path = uri.partition("?")[0] if "?" in uri else uri
    if len(path) <= _MAX_KEPT_LENGTH:
        return _read_again(path)
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


# Apps ask for the same paths over and over; a hit costs a tenth of the reading.
_read_again = lru_cache(maxsize=4096)(_read)

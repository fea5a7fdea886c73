"""Stripe's form encoding, `a[b][0][c]=v`, read into a tree of dicts and strings. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from gateway.sandbox.stripe.refusal import ApiError, invalid

Tree = dict[str, "str | Tree"]
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_MAX_FIELDS = 2000


def decode(raw: bytes) -> Tree:
    """The tree of a form body or a query string; `x[]=…` counts up as 0, 1, …; the last of equal names wins.

    Lists stay dicts with the keys "0", "1", …: only the parameter's type distinguishes them.
    """
    tree: Tree = {}
    pairs = [pair for pair in raw.split(b"&") if pair]
    if len(pairs) > _MAX_FIELDS:
        raise invalid("Too many parameters.")
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        _put(tree, _text(name), _text(value))
    return tree


def _text(encoded: bytes) -> str:
    try:
        return unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise invalid("Invalid UTF-8 in the request.") from exc


def _put(tree: Tree, name: str, value: str) -> None:
    match = _KEY.fullmatch(name)
    if match is None:
        raise ApiError(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    node = tree
    for step in path[:-1]:
        below = node.setdefault(_place(node, step), {})
        if isinstance(below, str):
            raise invalid(f"Invalid {name}: {step} is both a value and a hash", param=name)
        node = below
    node[_place(node, path[-1])] = value


def _place(node: Tree, step: str) -> str:
    return step if step else str(len(node))

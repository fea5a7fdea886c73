"""Stripe's form encoding: `a[b][0][c]=v`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.urls import api_query

Params = Mapping[str, object]


def encode(params: Params) -> str:
    """Text of nested parameters, for a query or an `application/x-www-form-urlencoded` body.

    Lists are indexed, booleans are `true` and `false`, None is left out; an empty string unsets a field at Stripe.
    """
    return api_query(_pairs(params))


def _pairs(params: Params, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        yield from _pair(f"{prefix}[{key}]" if prefix else str(key), value)


def _pair(name: str, value: object) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        yield from _pairs(value, name)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, item in enumerate(value):
            yield from _pair(f"{name}[{place}]", item)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif isinstance(value, str | int):
        yield name, str(value)
    else:
        raise TypeError(f"{name}: {type(value).__name__} has no form in Stripe's encoding")

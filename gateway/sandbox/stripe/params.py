"""The parameters of a call and their types: unknown, missing and malformed ones are refused with Stripe's messages.

Pure. A table per call is written beside its handler; tests compare each with Stripe's published schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.sandbox.stripe.form import Tree
from gateway.sandbox.stripe.refusal import ApiError, invalid

_METADATA_KEYS, _METADATA_KEY_LENGTH, _METADATA_VALUE_LENGTH = 50, 40, 500


class Kind:
    """One kind of value; `read` returns it typed or raises ApiError naming `name`."""

    def read(self, value: str | Tree, name: str) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Text(Kind):
    """A string. Empty means unset and reads as None where that is allowed, else it is refused."""

    unset: bool = True
    longest: int = 5000

    def read(self, value: str | Tree, name: str) -> Any:
        text = _scalar(value, name, "string")
        if text == "" and not self.unset:
            raise invalid(
                f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
                f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty "
                "value.",
                param=name,
                code="parameter_invalid_empty",
            )
        if len(text) > self.longest:
            raise invalid(f"Invalid string: {text[:20]}...; must be at most {self.longest} characters", param=name)
        return text or None


@dataclass(frozen=True)
class Url(Kind):
    """An absolute http or https address."""

    def read(self, value: str | Tree, name: str) -> Any:
        text = _scalar(value, name, "string")
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s]*", text):
            raise invalid("Not a valid URL", param=name, code="url_invalid")
        return text


@dataclass(frozen=True)
class Whole(Kind):
    """An integer within bounds."""

    least: int | None = None
    most: int | None = None

    def read(self, value: str | Tree, name: str) -> Any:
        text = _scalar(value, name, "integer")
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise invalid(f"Invalid integer: {text}", param=name, code="parameter_invalid_integer")
        number = int(text)
        if self.least is not None and number < self.least:
            bound = f"greater than or equal to {self.least}"
        elif self.most is not None and number > self.most:
            bound = f"less than or equal to {self.most}"
        else:
            return number
        raise invalid(
            f"This value must be {bound} (it currently is '{number}').", param=name, code="parameter_invalid_integer"
        )


@dataclass(frozen=True)
class Flag(Kind):
    """`true` or `false`, nothing else."""

    def read(self, value: str | Tree, name: str) -> Any:
        text = _scalar(value, name, "boolean")
        if text not in ("true", "false"):
            raise invalid(f"Invalid boolean: {text}", param=name)
        return text == "true"


class OneOf(Kind):
    """One of a closed list of words; `""` in the list unsets and reads as None."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def read(self, value: str | Tree, name: str) -> Any:
        text = _scalar(value, name, "string")
        if text not in self.words:
            listed = ", ".join(self.words[:-1]) + f", or {self.words[-1]}" if len(self.words) > 1 else self.words[0]
            raise invalid(f"Invalid {name}: must be one of {listed}", param=name)
        return text or None


class Either(Kind):
    """The first kind that reads the value; the error is that of the last one."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds

    def read(self, value: str | Tree, name: str) -> Any:
        for kind in self.kinds[:-1]:
            try:
                return kind.read(value, name)
            except ApiError:
                continue
        return self.kinds[-1].read(value, name)


@dataclass(frozen=True)
class Many(Kind):
    """A list; `""` empties it."""

    of: Kind
    most: int = 1000

    def read(self, value: str | Tree, name: str) -> Any:
        if value == "":
            return []
        if isinstance(value, str) or any(not key.isdigit() for key in value):
            raise invalid("Invalid array", param=name)
        if len(value) > self.most:
            raise invalid(f"Too many elements in {name}: at most {self.most} are allowed.", param=name)
        ordered = sorted(value, key=int)
        return [self.of.read(value[key], f"{name}[{key}]") for key in ordered]


@dataclass(frozen=True)
class Hash(Kind):
    """A hash with known keys."""

    keys: Mapping[str, Kind]
    needs: tuple[str, ...] = ()
    unset: bool = False

    def read(self, value: str | Tree, name: str) -> Any:
        if value == "" and self.unset:
            return None
        if isinstance(value, str):
            raise invalid("Invalid object", param=name)
        return _read_keys(value, self.keys, self.needs, name)


@dataclass(frozen=True)
class Metadata(Kind):
    """Up to 50 keys of 40 characters with values of 500. `""` clears all (None); a key with `""` is taken away."""

    def read(self, value: str | Tree, name: str) -> Any:
        if value == "":
            return None
        if isinstance(value, str):
            raise invalid("Invalid object", param=name)
        if len(value) > _METADATA_KEYS:
            raise invalid("Metadata can have up to 50 keys.", param=name)
        for key, item in value.items():
            if not isinstance(item, str):
                raise invalid("Metadata values must be strings.", param=f"{name}[{key}]")
            if len(key) > _METADATA_KEY_LENGTH:
                raise invalid(
                    f"Metadata keys can be at most {_METADATA_KEY_LENGTH} characters long.", param=f"{name}[{key}]"
                )
            if len(item) > _METADATA_VALUE_LENGTH:
                raise invalid(
                    f"Metadata values can have up to {_METADATA_VALUE_LENGTH} characters, "
                    f"but you passed in a value that is {len(item)} characters.",
                    param=f"{name}[{key}]",
                )
        return dict(value)


@dataclass(frozen=True)
class Spec:
    """The parameters of one call. `expand` is taken by all of them."""

    keys: Mapping[str, Kind] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def read(self, tree: Tree) -> dict[str, Any]:
        """The typed parameters; those not sent are absent."""
        return _read_keys(tree, {**self.keys, "expand": Many(Text())}, self.needs, "")


TEXT, TEXT_KEPT, URL, WHOLE, FLAG, METADATA = Text(), Text(unset=False), Url(), Whole(), Flag(), Metadata()
TIMES = Either(Hash({"gt": WHOLE, "gte": WHOLE, "lt": WHOLE, "lte": WHOLE}), WHOLE)
PAGE: dict[str, Kind] = {"limit": Whole(1, 100), "starting_after": TEXT_KEPT, "ending_before": TEXT_KEPT}
ADDRESS = Hash(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), TEXT), unset=True)


def merged_metadata(old: Mapping[str, str], change: Mapping[str, str] | None) -> dict[str, str]:
    """What metadata becomes: None clears it, an empty value takes its key away, the rest is laid over the old."""
    if change is None:
        return {}
    return {key: value for key, value in {**old, **change}.items() if value != ""}


def _scalar(value: str | Tree, name: str, kind: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"Invalid {kind}: {{{', '.join(value)}}}", param=name)
    return value


def _read_keys(tree: Tree, keys: Mapping[str, Kind], needs: tuple[str, ...], name: str) -> dict[str, Any]:
    def full(key: str) -> str:
        return f"{name}[{key}]" if name else key

    unknown = [full(key) for key in tree if key not in keys]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        raise ApiError(
            400,
            f"Received unknown parameter{plural}: {', '.join(unknown)}",
            code="parameter_unknown",
            param=unknown[0],
        )
    for key in needs:
        if key not in tree:
            raise ApiError(400, f"Missing required param: {full(key)}.", code="parameter_missing", param=full(key))
    return {key: keys[key].read(value, full(key)) for key, value in tree.items()}

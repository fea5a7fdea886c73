"""Writes the tables of docs/ that are generated from the code: `make docs`; `make check` compares them."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import gateway
from gateway.catalog.identity import KINDS
from gateway.catalog.leaves import Leaf, Shape
from gateway.catalog.shape import DocumentShape
from gateway.cli.commands import SECTIONS, Noun
from gateway.setting_variables import SERVICE, TERMINAL, TUNNEL, Variable
from gateway.web.routes import API, Route

DOCS = Path(__file__).parent
GATEWAY = Path(gateway.__file__).parent
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_EXAMPLE = json.loads((DOCS / "apps.example.json").read_text(encoding="utf-8"))
_LOG_CALL = re.compile(r"^ +log\.(debug|info|warning|error|exception)\(\s*\"([a-z_]+)\"", re.MULTILINE)
_LEVELS = {"exception": "ERROR"}
_NONE = "-"
_APP_CALLERS = ("app", "app or operator")
_PLAIN_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def main() -> None:
    """Write every document anew; with --check write nothing, and exit 1 if one is out of date."""
    check = sys.argv[1:] == ["--check"]
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := rendered(text)) != text:
            if check:
                sys.exit(f"docs/{path.name} is out of date; run: make docs")
            path.write_text(new, encoding="utf-8")


def rendered(text: str) -> str:
    """The document with every generated block replaced."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block[2]]()}\n\n{block[3]}", text)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _code(value: object) -> str:
    return f"`{value}`"


def _variables(variables: Sequence[Variable]) -> str:
    def row(each: Variable) -> Sequence[str]:
        name = f"`{each.name}`, `{each.name}_FILE`" if each.secret else _code(each.name)
        default = "required" if each.required else _code(each.default) if each.default else _NONE
        example = each.example if each.secret else _code(each.example)
        return name, "secret" if each.secret else "text", default, each.constraint, example, each.what

    head = ("variable", "type", "default", "constraint", "example", "meaning")
    return _table(head, map(row, variables))


def _apps_json() -> str:
    return "\n\n".join(_sections(DocumentShape, "", [_EXAMPLE], set()))


def _sections(shape: type[Shape], path: str, examples: list[Any], done: set[type[Shape]]) -> Iterator[str]:
    """The table of one object of apps.json, then those of the objects in it."""
    done.add(shape)
    title = path or "The document"
    yield f"### {_code(title) if path else title}\n\n{' '.join((shape.__doc__ or '').split())}\n\n" + _table(
        ("key", "type", "default", "constraint", "example", "meaning"),
        (_key_row(field.alias or name, field, path, examples) for name, field in shape.model_fields.items()),
    )
    for name, field in shape.model_fields.items():
        below, in_list = _shape_of(field.annotation)
        if below is not None and below not in done:
            key = field.alias or name
            values = [example[key] for example in examples if key in example]
            found = [item for value in values for item in value] if in_list else values
            yield from _sections(below, _below(path, key, in_list), found, done)


def _below(path: str, key: str, in_list: bool) -> str:
    return f"{path}.{key}".lstrip(".") + ("[]" if in_list else "")


def _key_row(key: str, field: FieldInfo, path: str, examples: list[Any]) -> Sequence[str]:
    leaf = _leaf(field)
    below, in_list = _shape_of(field.annotation)
    expected = leaf.expected.partition(", such as ")[0].partition(" such as ")[0] if leaf else ""
    lengths = _lengths(field) if in_list or _items(field.annotation) else ""
    said_by_type = expected.startswith("one of ") or expected in ("true or false", "a text")
    constraint = "; ".join(filter(None, ("" if said_by_type else expected, lengths)))
    example = next((each[key] for each in examples if key in each), None)
    shown = (
        _code(json.dumps(example, ensure_ascii=False)) if below is None else f"[below](#{_anchor(path, key, in_list)})"
    )
    default = _required_for(key) if path.endswith("identity[]") else ""
    default = default or _default(field)
    return _code(key), _type(field.annotation), default, constraint or _NONE, shown, field.description or _NONE


def _anchor(path: str, key: str, in_list: bool) -> str:
    return re.sub(r"[^a-z0-9_-]", "", _below(path, key, in_list))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value in (None, "", []) or isinstance(value, Shape):
        return _NONE
    return _code(json.dumps(value))


def _required_for(key: str) -> str:
    """The identity kinds that require the key."""
    kinds = [name for name, kind in KINDS.items() if key in kind.required]
    return f"required for {', '.join(kinds)}" if kinds else ""


def _leaf(field: FieldInfo) -> Leaf | None:
    """What one value must be: of the field, or of the items of its list."""
    found = [each for each in field.metadata if isinstance(each, Leaf)] or list(_leaves(field.annotation))
    return found[0] if found else None


def _leaves(annotation: Any) -> Iterator[Leaf]:
    for each in get_args(annotation):
        if isinstance(each, Leaf):
            yield each
        yield from _leaves(each)


def _lengths(field: FieldInfo) -> str:
    least = next((each.min_length for each in field.metadata if isinstance(each, MinLen)), 0)
    most = next((each.max_length for each in field.metadata if isinstance(each, MaxLen)), None)
    return f"{least} to {most} items" if most is not None else ""


def _items(annotation: Any) -> Any:
    """The annotation of a list's items, or None."""
    if get_origin(annotation) is list:
        return get_args(annotation)[0]
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType, Annotated) else ()
    return next((found for option in options if (found := _items(option)) is not None), None)


def _shape_of(annotation: Any) -> tuple[type[Shape] | None, bool]:
    """The object that stands there, and whether in a list."""
    items = _items(annotation)
    if items is not None:
        return _shape_of(items)[0], True
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return annotation, False
    found = (_shape_of(option)[0] for option in get_args(annotation))
    return next((shape for shape in found if shape is not None), None), False


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(_code(json.dumps(value)) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(option) for option in arguments)
    if origin is dict:
        return "object of texts"
    if annotation is type(None):
        return "null"
    return "object" if issubclass(annotation, Shape) else _PLAIN_TYPES[annotation]


def _routes(callers: Sequence[str]) -> Callable[[], str]:
    def row(route: Route) -> Sequence[str]:
        summary = " ".join((route.handler.__doc__ or "").strip().splitlines()[0].split())
        errors = ", ".join(map(str, sorted(set(route.errors)))) or _NONE
        body = _code(route.request.__name__) if route.request else _NONE
        answer = f"{route.success} {_code(route.response.__name__)}" if route.response else str(route.success)
        return _code(f"{route.method} {route.path}"), route.caller, body, answer, errors, summary

    head = ("route", "caller", "request body", "success", "errors", "what it does")
    return lambda: _table(head, (row(route) for route in API if route.caller in callers))


def _models() -> str:
    """What app backends send and get; the OpenAPI document has the others."""
    routes = [route for route in API if route.caller in _APP_CALLERS]
    used = {model for route in routes for model in (route.request, route.response) if model}
    blocks = [
        f"### {model.__name__}\n\n" + _table(("field", "type", "default", "meaning"), _fields(model))
        for model in sorted(_with_nested(used), key=lambda model: model.__name__)
    ]
    return "\n\n".join(blocks)


def _with_nested(models: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """The models and those that their fields hold."""
    found = set(models)
    for model in models:
        for field in model.model_fields.values():
            found |= _with_nested(set(_models_in(field.annotation)))
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for option in get_args(annotation):
        yield from _models_in(option)


def _fields(model: type[BaseModel]) -> Iterator[Sequence[str]]:
    schema = model.model_json_schema(mode="serialization")
    for name, field in model.model_fields.items():
        key = field.alias or name
        value = schema["properties"][key]
        default = "required" if field.is_required() else _code(json.dumps(field.get_default(call_default_factory=True)))
        yield _code(key), _json_type(value), default, value.get("description", field.description or _NONE)


def _json_type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return _code(value["$ref"].rpartition("/")[2])
    if "anyOf" in value:
        return " or ".join(_json_type(option) for option in value["anyOf"])
    if "enum" in value or "const" in value:
        return ", ".join(_code(json.dumps(each)) for each in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        return f"list of {_json_type(value['items'])}"
    return str(value.get("type", "any"))


def _commands() -> str:
    parts = []
    for title, entries in SECTIONS.items():
        rows: list[Sequence[str]] = []
        for name, entry in entries.items():
            if isinstance(entry, Noun):
                rows += [(_code(f"skpay {name} {verb}"), command.help) for verb, command in entry.verbs.items()]
            else:
                rows.append((_code(f"skpay {name}"), entry.help))
        parts.append(f"### {title}\n\n" + _table(("command", "what it does"), iter(rows)))
    return "\n\n".join(parts)


def _log_events() -> str:
    """Every event that the service logs, by the source."""
    found: dict[tuple[str, str], set[str]] = {}
    for path in sorted(GATEWAY.rglob("*.py")):
        if "sandbox" not in path.parts:
            room = path.relative_to(GATEWAY).parts[0].removesuffix(".py")
            for level, event in _LOG_CALL.findall(path.read_text(encoding="utf-8")):
                found.setdefault((event, _LEVELS.get(level, level.upper())), set()).add(room)
    rows = ((_code(event), level, ", ".join(sorted(rooms))) for (event, level), rooms in sorted(found.items()))
    return _table(("event", "level", "logged by"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "environment": lambda: _variables(SERVICE),
    "environment-tunnel": lambda: _variables(TUNNEL),
    "environment-terminal": lambda: _variables(TERMINAL),
    "apps-json": _apps_json,
    "routes-apps": _routes(_APP_CALLERS),
    "routes-public": _routes(("anyone", "buyer", "returning buyer", "stripe")),
    "routes-admin": _routes(("operator",)),
    "models": _models,
    "commands": _commands,
    "log-events": _log_events,
}

if __name__ == "__main__":
    main()

"""Options of Traefik's static configuration as text: a YAML file, or the command of Traefik's container. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from gateway.catalog.model import Routing
from gateway.errors import ConfigError

Value = str | bool | int | tuple[str, ...]
_WIDTH = 118
_YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


@dataclass(frozen=True, slots=True)
class Line:
    """One option by its path, with its reason. `commented_out` ones are written as comments."""

    path: tuple[str, ...]
    value: Value
    why: str = ""
    commented_out: bool = False


def _head(routing: Routing, how: str) -> str:
    return f"""\
# Written by skpay routes write --format static, from `routing` in apps.json: a static configuration to start from, for
# Traefik {routing.traefik_version} or newer. Older ones than 3.7.13 have known holes around ForwardAuth.
# Mount the folder, not single files: a file's mount keeps the old text after skpay routes write has replaced it.
#
{how}
#
# Traefik reads this once: restart it after a change. What is in ./dynamic it follows by itself.
"""


def as_yaml(routing: Routing, lines: list[Line]) -> str:
    how = """\
#   volumes: [./traefik:/etc/traefik:ro]     traefik.yml, and ./dynamic beside it
#   environment: GATE_SECRET                 the same as SKPayments'; without one the gate refuses every request"""
    text = _head(routing, how)
    above: tuple[str, ...] = ()
    for line in lines:
        shared = sum(1 for _ in _same(above, line.path[:-1]))
        if shared == 0:
            text += "\n"
        text += _commented_option(line, shared) if line.commented_out else _option(line, shared)
        above = above if line.commented_out else line.path[:-1]
    return text


def _option(line: Line, shared: int) -> str:
    """It and the sections that it opens below the first `shared` ones."""
    opened = "".join(f"{'  ' * depth}{_key(key)}:\n" for depth, key in enumerate(line.path[shared:-1], shared))
    indent = "  " * (len(line.path) - 1)
    return f"{opened}{_comment(line.why, indent)}{indent}{_key(line.path[-1])}: {_yaml(line)}\n"


def _commented_option(line: Line, shared: int) -> str:
    """The option as a comment, including its sections: an empty section would have a meaning."""
    option = _option(replace(line, path=line.path[shared:], why=""), 0)
    indent = "  " * shared
    return _comment(line.why, indent) + "".join(f"{indent}# {text}\n" for text in option.splitlines())


def as_command(routing: Routing, lines: list[Line]) -> str:
    how = """\
#   docker compose -f docker-compose.yml -f traefik/traefik-command.yml up -d
#   volumes: [./traefik:/etc/traefik:ro]     for ./dynamic
#   GATE_SECRET in compose's environment     the same as SKPayments'; without one no route is known"""
    dotted = [key for line in lines for key in line.path if "." in key]
    if dotted:
        raise ConfigError([f"routing: {dotted[0]!r}: a flag of Traefik's takes a dot for something else; rename it"])
    container = urlsplit(routing.traefik_url).hostname or "traefik"
    text = _head(routing, how) + f"\nservices:\n  {_key(container)}:\n    command:\n"
    for line in lines:
        text += _comment(line.why, " " * 6)
        flag = f"--{'.'.join(line.path)}={_flag(line.value)}"
        text += f"      {'# ' if line.commented_out else ''}- {json.dumps(flag)}\n"
    return text


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> Iterator[str]:
    for left, right in zip(one, other, strict=False):
        if left != right:
            return
        yield left


def _comment(why: str, indent: str) -> str:
    return "".join(f"{indent}# {part}\n" for part in textwrap.wrap(why, _WIDTH - len(indent)))


def _key(key: str) -> str:
    """Names are of A-Z, a-z, 0-9, _ . and -; numbers and words with another meaning in YAML need quotes."""
    return key if key[:1].isalpha() and key.lower() not in _YAML_WORDS else f'"{key}"'


def _yaml(line: Line) -> str:
    if line.path[-1] == "tlsChallenge":
        return "{}"  # in a file an object with nothing in it, as a flag true
    if isinstance(line.value, tuple):
        return json.dumps(list(line.value))
    return json.dumps(line.value)


def _flag(value: Value) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)

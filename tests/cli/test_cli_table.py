"""The table of commands: what it says of each command is true, and reading it imports no command."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from cli_result import Skpay, every_command
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.running import Running, event
from servers.traefik import until
from sqlalchemy import Connection

from gateway import cli
from gateway.billing.accounts import users_page
from gateway.cli import output
from gateway.cli import skpay as root
from gateway.cli.commands import RENAMED, SECTIONS, Noun
from gateway.store import alerts

# What costs the time: none of it is needed to say a version or to list commands.
HEAVY = {"aiohttp", "alembic", "asyncio", "cryptography", "pydantic", "psycopg", "rich", "sqlalchemy", "uvloop", "yaml"}


def command_at(words: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


LEAVES = [words for words in every_command() if not isinstance(command_at(words), click.Group)]


def names(words: tuple[str, ...]) -> str:
    return " ".join(words)


@pytest.mark.parametrize("words", LEAVES, ids=names)
def test_the_table_says_what_the_command_says_of_itself(words: tuple[str, ...]) -> None:
    entry = root.entries[words[0]]
    listed = entry.verbs[words[1]] if isinstance(entry, Noun) else entry
    command = command_at(words)
    assert (command.help or "").splitlines()[0].startswith(listed.help.removesuffix("."))
    assert command.name == words[-1]


def test_a_command_is_a_noun_and_a_verb_or_concerns_the_installation() -> None:
    verbs = {name for name, entry in root.entries.items() if not isinstance(entry, Noun)}
    assert verbs <= {"check", "serve", "init", "doctor", "reconcile", "selftest", "demo"}
    assert sum(len(entries) for entries in SECTIONS.values()) == len(root.entries)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
async def test_a_former_command_name_prints_the_new_one(skpay: Skpay, old: str, new: str) -> None:
    result = await skpay(old, "skai", "u1")
    assert (result.code, result.out) == (2, "")
    assert f"It is now: skpay {new}" in result.err
    assert tuple(new.split()) in LEAVES


async def test_a_misspelt_command_gets_a_suggestion(skpay: Skpay) -> None:
    assert "Did you mean 'doctor'?" in (await skpay("docter")).err
    assert "Did you mean 'explain'?" in (await skpay("users", "explian")).err


def _imported(*words: str, **env: str) -> tuple[str, set[str]]:
    """What a run of `skpay` prints, and the packages that it imported."""
    code = (
        "import sys; from gateway import cli\n"
        f"sys.argv = ['skpay', *{words!r}]\n"
        "try:\n    cli.main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **env}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, {line for line in done.stderr.splitlines() if line}


NOUNS = [name for name, entry in root.entries.items() if isinstance(entry, Noun)]


@pytest.mark.parametrize("words", [("--version",), ("--help",), *((noun, "--help") for noun in NOUNS)], ids=names)
def test_version_and_help_import_no_command_and_nothing_heavy(words: tuple[str, ...]) -> None:
    printed, modules = _imported(*words)
    assert printed.startswith(("skpay, version", "Usage: skpay"))
    assert {module.partition(".")[0] for module in modules} & HEAVY == set()
    assert {module for module in modules if module.startswith("gateway.cli.")} == {
        "gateway.cli.commands",
        "gateway.cli.output",
    }


def test_completion_imports_no_command_and_nothing_heavy() -> None:
    env = {"_SKPAY_COMPLETE": "bash_complete", "COMP_WORDS": "skpay users ex", "COMP_CWORD": "2"}
    printed, modules = _imported(**env)
    assert printed.split() == ["plain,explain"]
    assert {module.partition(".")[0] for module in modules} & (HEAVY - {"asyncio"}) == set()


# `asyncio`, `aiohttp` and `sqlalchemy` are what a command that reads files must not wait for.
@pytest.mark.parametrize("words", [("schema", "show"), ("routes", "show")], ids=names)
def test_commands_that_read_files_import_no_server(words: tuple[str, ...]) -> None:
    printed, modules = _imported(*words, PUBLIC_URL="https://pay.example.com")
    assert printed
    assert {module.partition(".")[0] for module in modules} & {"aiohttp", "alembic", "psycopg", "sqlalchemy"} == set()


def _functions_of(module_name: str) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(sys.modules[module_name]))
    return {node.name: ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _prints_a_table(command: click.Command) -> bool:
    """Whether the command's function, or one of its module that it calls, prints rows."""
    assert command.callback is not None
    functions = _functions_of(command.callback.__module__)
    name = inspect.unwrap(command.callback).__name__
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        seen.add(current)
        text = functions[current]
        if "listing(" in text or "table(" in text:
            return True
        waiting += [each for each in functions if f"{each}(" in text and each not in seen]
    return False


def test_every_command_that_prints_a_table_prints_json_too() -> None:
    with_table = [words for words in LEAVES if _prints_a_table(command_at(words))]
    assert len(with_table) >= 9
    for words in with_table:
        assert any("--json" in each.opts for each in command_at(words).params), words


USER = "u" * 120 + "-é漢:smile:[red]-" + "v" * 60


def test_rows_are_printed_in_one_place() -> None:
    """Rich folds what is wider than it believes the terminal to be, and reads emoji and markup in people's ids."""
    folder = Path(cli.__file__).parent
    with_rich = [path.name for path in folder.glob("*.py") if "from rich" in path.read_text(encoding="utf-8")]
    assert with_rich == ["progress.py"]


CELLS = st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), max_size=300)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
@settings(deadline=None)
def test_a_row_is_one_line_with_every_cell_whole(rows: list[tuple[str, str, str]]) -> None:
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        output.table(("one", "two", "three"), rows, empty="none")
    lines = written.getvalue().split("\n")
    assert len(lines) == len(rows) + 2
    for row, line in zip(rows, lines[1:], strict=False):
        assert all(cell in line for cell in row)


async def _populate(running: Running) -> None:
    """One row for each list, each with an id that is wider than a terminal."""
    await running.admin("POST", "/admin/grants", {"app_id": "skai", "user_id": USER, "tier": "pro", "reason": "a gift"})
    await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": USER, "name": "n" * 90})
    await running.webhook(event("evt_" + "e" * 90))

    def job(conn: Connection) -> None:
        alerts.open_(conn, "price_missing", USER, "Stripe has no price " + "p" * 90, int(time.time()))

    await running.application.parts.store.write(job)

    async def known() -> bool:
        return (await running.admin("GET", "/admin/users"))[1]["users"] != []

    await until(known, "the grant is decided on")


LISTS = {
    ("alerts", "list"): [USER], ("events", "list"): ["evt_" + "e" * 90], ("keys", "list"): [USER, "n" * 90],
    ("users", "list"): [USER], ("users", "explain", "skai", USER): [USER], ("users", "show", "skai", USER): [USER],
    ("notices", "list"): [],
}  # fmt: skip


async def test_no_id_is_folded_in_a_pipe_and_json_has_the_same(skpay: Skpay, running: Running) -> None:
    await _populate(running)
    for words, ids in LISTS.items():
        result = await skpay(*words, env=running.environ)
        for each in ids:
            assert any(each in line for line in result.out.splitlines()), (words, result)
        text = await skpay(*words, "--json", env=running.environ)
        read = json.dumps(json.loads(text.out), ensure_ascii=False)
        assert all(each in read for each in ids), words
        assert text.code == result.code


async def test_users_come_page_by_page_and_are_filtered(
    skpay: Skpay, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_page, "PAGE", 2)
    for number in range(5):
        body = {"app_id": "skai", "user_id": f"u{number}", "tier": "pro" if number % 2 else "enterprise", "reason": "x"}
        await running.admin("POST", "/admin/grants", body)

    async def all_known() -> bool:
        found = json.loads((await skpay("users", "list", "--json", env=running.environ)).out)
        return [each["user_id"] for each in found] == [f"u{number}" for number in range(5)]

    await until(all_known, "every grant is decided on")
    result = await skpay("users", "list", "--app", "skai", "--tier", "pro", "--status", "none", env=running.environ)
    assert [line.split()[1] for line in result.out.splitlines()[1:]] == ["u1", "u3"]
    result = await skpay("users", "list", "--limit", "3", env=running.environ)
    assert [line.split()[1] for line in result.out.splitlines()[1:4]] == ["u0", "u1", "u2"]
    assert result.out.splitlines()[4] == "… and more than these 3"
    await running.application.stop()
    result = await skpay("users", "list", "--app", "skai", "--json", env=running.environ)
    assert len(json.loads(result.out)) == 5
    assert (await skpay("users", "list", "--status", "active", env=running.environ)).out == "No user.\n"

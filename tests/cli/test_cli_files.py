"""`skpay routes` and `skpay schema`: generated files, written whole, checked by exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_said import Skpay
from servers.running import GATE_SECRET, write_apps

URL = ("--public-url", "https://pay.example.com")


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, ...]:
    """The options that name apps.json and the folder of the generated files."""
    write_apps(tmp_path)
    return ("--apps", str(tmp_path / "apps.json"), *URL, "--out", str(tmp_path / "out"))


async def test_check_is_1_until_written_and_0_after(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    said = await skpay("routes", "check", *place)
    assert said.code == 1
    assert "is missing; run: skpay routes write" in said.out
    assert (await skpay("routes", "write", *place)).code == 0
    said = await skpay("routes", "check", *place)
    assert (said.code, "missing" in said.out) == (0, False)
    file = tmp_path / "out" / "dynamic" / "skpayments.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("chat.example.com", "evil.example.com"), encoding="utf-8")
    said = await skpay("routes", "check", *place)
    assert said.code == 1
    assert "is out of date" in said.out
    assert "evil.example.com" in said.out


async def test_writing_again_touches_nothing(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    await skpay("routes", "write", *place)
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.yml")}
    said = await skpay("routes", "write", *place)
    assert "written" not in said.out
    assert {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.yml")} == before
    assert len(before) >= 4


async def test_show_prints_names_or_one_file(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    await skpay("routes", "write", *place)
    names = (await skpay("routes", "show", *place[:4])).out.split()
    assert "dynamic/skpayments.yml" in names
    for name in names:
        shown = (await skpay("routes", "show", *place[:4], name)).out
        assert shown == (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert GATE_SECRET not in shown
    said = await skpay("routes", "show", *place[:4], "../../etc/passwd")
    assert said.code == 2


async def test_routes_need_no_secret_but_the_public_url(skpay: Skpay, place: tuple[str, ...]) -> None:
    said = await skpay("routes", "show", *place[:2])
    assert said.code == 2
    assert "PUBLIC_URL: not set" in said.err
    said = await skpay("routes", "check", "--apps", "/nowhere/apps.json", *URL)
    assert said.code == 2
    assert "cannot be read" in said.err


async def test_a_place_that_cannot_be_written_is_told_in_a_line(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    said = await skpay("routes", "write", *place[:4], "--out", str(tmp_path / "file" / "below"))
    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err


async def test_the_schema_is_printed_or_written(skpay: Skpay, tmp_path: Path) -> None:
    printed = await skpay("schema")
    assert json.loads(printed.out)["type"] == "object"
    said = await skpay("schema", "--out", str(tmp_path / "apps.schema.json"))
    assert said.code == 0
    assert (tmp_path / "apps.schema.json").read_text(encoding="utf-8") == printed.out
    said = await skpay("schema", "--out", str(tmp_path / "no" / "folder" / "x.json"))
    assert said.code == 2

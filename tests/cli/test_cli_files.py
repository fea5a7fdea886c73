"""`skpay routes` and `skpay schema write`: generated files, written whole, checked by exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_result import CliResult, Skpay
from servers.running import GATE_SECRET, write_apps

from gateway.routing import FORMATS

URL = ("--public-url", "https://pay.example.com")


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, ...]:
    """The options that name apps.json and the folder of the generated files."""
    write_apps(tmp_path)
    return ("--apps", str(tmp_path / "apps.json"), *URL, "--out", str(tmp_path / "out"))


async def test_every_routes_command_takes_the_kind_of_gate(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path
) -> None:
    here = (*place, "--format", "file")
    assert (await skpay("routes", "write", *here, "--gate", "plugin")).code == 0
    text = (tmp_path / "out/dynamic/skpayments.yml").read_text()
    assert "plugin:" in text
    assert "forwardAuth:" not in text
    assert (await skpay("routes", "check", *here, "--gate", "plugin")).code == 0
    assert (await skpay("routes", "check", *here)).code == 1
    assert "+      forwardAuth:" in (await skpay("routes", "diff", *here)).out
    assert (await skpay("routes", "show", *here[:4], "--format", "file", "--gate", "plugin")).out == text


async def test_check_is_1_until_written_and_0_after(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    result = await skpay("routes", "check", *place)
    assert result.code == 1
    assert "is missing; run: skpay routes write" in result.out
    assert (await skpay("routes", "write", *place)).code == 0
    result = await skpay("routes", "check", *place)
    assert (result.code, "missing" in result.out) == (0, False)
    file = tmp_path / "out" / "dynamic" / "skpayments.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("chat.example.com", "evil.example.com"), encoding="utf-8")
    result = await skpay("routes", "check", *place)
    assert result.code == 1
    assert "is out of date" in result.out


async def test_diff_shows_what_write_would_change_with_exit_1(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path
) -> None:
    result = await skpay("routes", "diff", *place)
    assert result.code == 1
    assert result.out.startswith("--- /dev/null\n")
    await skpay("routes", "write", *place)
    assert await skpay("routes", "diff", *place) == CliResult(0, "", "")
    file = tmp_path / "out" / "dynamic" / "skpayments.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("chat.example.com", "[red]evil[/].example.com"))
    result = await skpay("routes", "diff", *place)
    assert result.code == 1
    assert "-      rule: Host(`[red]evil[/].example.com`)\n" in result.out
    assert "+      rule: Host(`chat.example.com`)\n" in result.out
    assert "[red]evil" in file.read_text(encoding="utf-8")


async def test_diff_redacts_a_secret_that_was_written_into_a_file(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path
) -> None:
    """T41: ours hold references only, but what is found may be anything."""
    await skpay("routes", "write", *place, "--format", "file", "--format", "docker")
    environment = {"GATE_SECRET": f"{GATE_SECRET},older-secret-of-32-characters-xx"}
    file = tmp_path / "out" / "dynamic" / "skpayments.yml"
    text = file.read_text(encoding="utf-8")
    for written in ("X-SK-Gate: hunter2hunter2", '"X-SK-Gate": "hunter2hunter2"', f"# it is {GATE_SECRET}",
                    "# older-secret-of-32-characters-xx"):  # fmt: skip
        file.write_text(text.replace("X-SK-Gate: '{{ env \"GATE_SECRET\" }}'", written), encoding="utf-8")
        result = await skpay("routes", "diff", *place, env=environment)
        assert result.code == 1
        assert "********" in result.out
        assert "+          X-SK-Gate: '{{ env \"GATE_SECRET\" }}'" in result.out
        for secret in ("hunter2", GATE_SECRET, "older-secret"):
            assert secret not in result.out
    labels = tmp_path / "out" / "docker" / "skai.yml"
    labels.write_text(labels.read_text(encoding="utf-8").replace("${GATE_SECRET}", "hunter2"), encoding="utf-8")
    result = await skpay("routes", "diff", *place, "--format", "docker")
    assert "hunter2" not in result.out
    assert "X-SK-Gate: ${GATE_SECRET}" in result.out


async def test_files_of_a_removed_app_are_reported_and_removed(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path
) -> None:
    await skpay("routes", "write", *place)
    out = tmp_path / "out"
    (out / "labels" / "gone.yml").write_text((out / "labels" / "skai.yml").read_text(encoding="utf-8"))
    (out / "dynamic" / "mine.yml").write_text("http: {}\n", encoding="utf-8")
    await skpay("routes", "write", *place, "--format", "static", "--format", "docker")
    result = await skpay("routes", "check", *place)
    assert result.code == 1
    assert "gone.yml is left over" in result.out
    assert "+++ /dev/null" in (await skpay("routes", "diff", *place)).out
    result = await skpay("routes", "write", *place)
    assert "gone.yml removed" in result.out
    assert (await skpay("routes", "check", *place)).code == 0
    assert not (out / "labels" / "gone.yml").exists()
    # An operator's own file, the entry point's and another format's stay.
    for kept in ("dynamic/mine.yml", "dynamic/entry-point.yml", "traefik.yml", "docker/skai.yml"):
        assert (out / kept).exists()


async def test_a_format_is_written_shown_and_checked_by_itself(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path
) -> None:
    for name in FORMATS:
        shown = await skpay("routes", "show", *place[:4], "--format", name)
        assert (shown.code, GATE_SECRET in shown.out) == (0, False)
        assert (await skpay("routes", "check", *place, "--format", name)).code == 1
        assert (await skpay("routes", "write", *place, "--format", name)).code == 0
        assert (await skpay("routes", "check", *place, "--format", name)).code == 0
        assert (await skpay("routes", "diff", *place, "--format", name)).out == ""
    assert json.loads((await skpay("routes", "show", *place[:4], "--format", "http")).out)["http"]["routers"]
    assert (await skpay("routes", "show", *place[:4], "--format", "kubernetes")).code == 2


async def test_the_tunnels_id_is_a_uuid_and_is_written_where_needed(skpay: Skpay, place: tuple[str, ...]) -> None:
    uuid = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"
    result = await skpay("routes", "show", *place[:4], "--tunnel-id", uuid, "--format", "dns")
    assert {record["content"] for record in json.loads(result.out)} == {f"{uuid}.cfargotunnel.com"}
    result = await skpay("routes", "show", *place[:4], "--tunnel-id", uuid, "cloudflared/config.yml")
    assert f"credentials-file: /etc/cloudflared/{uuid}.json" in result.out
    assert (await skpay("routes", "show", *place[:4], "--tunnel-id", "../x", "--format", "dns")).code == 2


@pytest.mark.parametrize(
    ("provider", "written"),
    [
        ("file", {"dynamic/skpayments.yml", "labels/skai.yml", "labels/_skpayments.yml", "cloudflared/config.yml"}),
        ("http", {"labels/skai.yml", "labels/_skpayments.yml", "cloudflared/config.yml"}),
        ("docker", {"labels/skai.yml", "labels/_skpayments.yml", "cloudflared/config.yml"}),
        ("swarm", {"labels/skai.yml", "labels/_skpayments.yml", "cloudflared/config.yml"}),
    ],
)
async def test_what_is_written_is_what_the_provider_needs(
    skpay: Skpay, place: tuple[str, ...], tmp_path: Path, provider: str, written: set[str]
) -> None:
    write_apps(tmp_path, lambda tree: tree.update(apps=tree["apps"][:1], routing={"provider": provider}))
    await skpay("routes", "write", *place)
    out = tmp_path / "out"
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*")} == written
    text = (out / "labels" / "skai.yml").read_text(encoding="utf-8")
    assert ("traefik.enable: 'false'" in text) is (provider in ("file", "http"))


async def test_labels_refuse_by_name_what_they_cannot_say(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    def tier_routers(tree: Any) -> None:
        tree["apps"][0]["tiers"][0]["traffic"] = {"in_flight": 2}

    write_apps(tmp_path, tier_routers)
    assert (await skpay("routes", "write", *place)).code == 0
    result = await skpay("routes", "show", *place[:4], "--format", "swarm")
    assert result.code == 2
    assert "skai: labels cannot tell tiers apart" in result.err


async def test_a_second_write_changes_no_file(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    await skpay("routes", "write", *place)
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.yml")}
    result = await skpay("routes", "write", *place)
    assert "written" not in result.out
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
    result = await skpay("routes", "show", *place[:4], "../../etc/passwd")
    assert result.code == 2


async def test_routes_need_no_secret_but_the_public_url(skpay: Skpay, place: tuple[str, ...]) -> None:
    result = await skpay("routes", "show", *place[:2])
    assert result.code == 2
    assert "PUBLIC_URL: not set" in result.err
    result = await skpay("routes", "check", "--apps", "/nowhere/apps.json", *URL)
    assert result.code == 2
    assert "cannot be read" in result.err


async def test_an_unwritable_path_is_reported_in_a_line(skpay: Skpay, place: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = await skpay("routes", "write", *place[:4], "--out", str(tmp_path / "file" / "below"))
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 1
    assert "Traceback" not in result.err


async def test_the_schema_is_printed_or_written(skpay: Skpay, tmp_path: Path) -> None:
    printed = await skpay("schema", "show")
    assert json.loads(printed.out)["type"] == "object"
    result = await skpay("schema", "write", str(tmp_path / "apps.schema.json"))
    assert result.code == 0
    assert (tmp_path / "apps.schema.json").read_text(encoding="utf-8") == printed.out
    result = await skpay("schema", "write", str(tmp_path / "no" / "folder" / "x.json"))
    assert result.code == 2


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("pay.example.com", "PUBLIC_URL: begins with neither http:// nor https://"),
        ("https://pay.example.com/pay", 'PUBLIC_URL: has the path "/pay", but must have none'),
        ("http://pay.example.com", "PUBLIC_URL: uses http at a public host"),
    ],
)
async def test_routes_take_no_public_url_that_serve_would_refuse(
    skpay: Skpay, tmp_path: Path, url: str, text: str
) -> None:
    write_apps(tmp_path)
    result = await skpay("routes", "show", "--apps", str(tmp_path / "apps.json"), "--public-url", url)
    assert (result.code, result.out, text in result.err) == (2, "", True)

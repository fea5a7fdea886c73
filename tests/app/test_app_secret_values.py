"""Secrets that another program defines are taken as it takes them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from access.access_samples import NOW, SESSION_REF, session, with_app
from click.testing import CliRunner
from servers.running import environ_of, write_apps

from gateway.access.app_access import app_access
from gateway.access.authentication import AuthenticatedUser
from gateway.app.catalog_file import CatalogFile
from gateway.app.secret_values import MIN_PART_BYTES, ambiguous_secrets, read_secret_ref
from gateway.catalog.identity import OpenWebUIIdentity
from gateway.catalog.secret_ref import SecretRef
from gateway.cli import skpay
from gateway.settings import Secrets, read_settings

ENV = SecretRef("env", "WEBUI_SECRET_KEY")
NEW, OLD = "a-new-secret-of-thirty-two-bytes!!", "an-old-secret-of-thirty-two-bytes!"


def values(secrets: Secrets) -> list[str]:
    return [secret.reveal() for secret in secrets]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NEW, [NEW]),
        (f"{NEW},{OLD}", [f"{NEW},{OLD}", NEW, OLD]),
        (f"{NEW} , {OLD}\n", [f"{NEW} , {OLD}\n", NEW, OLD]),
        (f"{NEW}\n", [f"{NEW}\n", NEW]),
        (f" {NEW}", [f" {NEW}", NEW]),
        (f",{NEW}", [f",{NEW}", NEW]),
        (f"{NEW[:20]}\n{NEW[20:]}", [f"{NEW[:20]}\n{NEW[20:]}"]),
        # what could be guessed is no secret by itself
        (f"{'x' * (MIN_PART_BYTES - 1)},{OLD}", [f"{'x' * (MIN_PART_BYTES - 1)},{OLD}", OLD]),
        ("correct, horse, battery, staple", ["correct, horse, battery, staple"]),
    ],
)
def test_a_variable_is_taken_as_it_stands_and_in_its_parts(text: str, expected: list[str]) -> None:
    assert values(read_secret_ref(ENV, {"WEBUI_SECRET_KEY": text}, external=True)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NEW, [NEW]),
        (f"{NEW}\n", [NEW, f"{NEW}\n"]),
        (f"{NEW}\r\n", [NEW, f"{NEW}\r\n"]),
        (f"{NEW}\n\n", [f"{NEW}\n", f"{NEW}\n\n", NEW]),
        (f"{NEW},{OLD}\n", [f"{NEW},{OLD}", f"{NEW},{OLD}\n", NEW, OLD]),
    ],
)
def test_the_closing_line_break_of_a_file_is_not_its_secrets_but_may_be(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    (tmp_path / "key").write_bytes(text.encode())
    assert values(read_secret_ref(SecretRef("file", str(tmp_path / "key")), {}, external=True)) == expected


@pytest.mark.parametrize("text", [NEW, f"{NEW}\n", f"{NEW},{OLD}", f" {NEW} ", "a,b" * 11, f"x\n{NEW}"])
@pytest.mark.parametrize("kind", ["env", "file"])
def test_sessions_that_are_signed_with_the_whole_value_verify(tmp_path: Path, kind: str, text: str) -> None:
    """Open WebUI uses it as it stands in its environment."""
    (tmp_path / "key").write_bytes(text.encode())
    ref = ENV if kind == "env" else SecretRef("file", str(tmp_path / "key"))
    secrets = {SESSION_REF: read_secret_ref(ref, {"WEBUI_SECRET_KEY": text}, external=True)}
    identity = app_access(with_app(identity=(OpenWebUIIdentity(SESSION_REF),)), secrets, {}).identity
    answer = identity.authenticate({b"Cookie": b"token=" + session("alice", secret=text)}, NOW)
    assert isinstance(answer, AuthenticatedUser)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "is empty"), (" \n", "is empty"), ("changeme\n", "well-known"), ("\udcff" * 40, "no UTF-8")],
)
def test_what_is_no_secret_at_all_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_secret_ref(ENV, {"WEBUI_SECRET_KEY": text}, external=True)


def test_our_own_secrets_are_read_as_ever(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{NEW}, {OLD}\n")
    assert values(read_secret_ref(SecretRef("file", str(tmp_path / "key")), {})) == [NEW, OLD]
    with pytest.raises(ValueError, match="line break"):
        read_secret_ref(ENV, {"WEBUI_SECRET_KEY": f"{NEW}\nx"})


@pytest.mark.parametrize(
    ("text", "ambiguous"), [(NEW, False), (f"{NEW},{OLD}", True), (f"{NEW}\n", True), (f" {NEW}", True), ("", False)]
)
def test_a_value_that_may_be_read_in_two_ways_is_named_at_start_and_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str, ambiguous: bool
) -> None:
    write_apps(tmp_path)
    environ = environ_of(tmp_path, stripe_url="http://127.0.0.1:9", litellm_url="http://127.0.0.1:9") | {
        "SESSION_SECRET": text or NEW
    }
    with caplog.at_level(logging.WARNING):
        catalog, _ = CatalogFile(read_settings(environ), environ).read()
    assert ("secret_ambiguous" in caplog.messages) is ambiguous
    assert (ambiguous_secrets(catalog, environ) != []) is ambiguous
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(skpay, ["check"])
    assert ("can be read in two ways" in result.output) is ambiguous, result.output
    assert NEW not in result.output
    assert NEW not in json.dumps([str(record.__dict__) for record in caplog.records])


def test_a_files_own_line_break_is_not_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{NEW}\n")
    write_apps(tmp_path, lambda tree: tree["apps"][0]["identity"][0].update(secret=f"file:{tmp_path / 'key'}"))
    environ = environ_of(tmp_path, stripe_url="http://127.0.0.1:9", litellm_url="http://127.0.0.1:9")
    catalog, _ = CatalogFile(read_settings(environ), environ).read()
    assert ambiguous_secrets(catalog, environ) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sk-1a2b3c", ["sk-1a2b3c"]),
        ("sk-1a2b3c\n", ["sk-1a2b3c"]),
        ("sk-new, sk-old", ["sk-new", "sk-old", "sk-new, sk-old"]),
        ("sk-1a2b3c,", ["sk-1a2b3c", "sk-1a2b3c,"]),
    ],
)
def test_litellms_keys_are_tried_in_their_parts_and_as_they_stand(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    shared = tmp_path / "shared"
    shared.write_text(text)
    write_apps(tmp_path, lambda tree: tree["apps"][0]["litellm"].update(shared_key=f"file:{shared}"))
    environ = environ_of(tmp_path, stripe_url="http://127.0.0.1:9", litellm_url="http://127.0.0.1:9")
    settings = read_settings(environ | {"LITELLM_KEY": text.strip()})
    assert values(settings.litellm_key) == expected
    _, secrets = CatalogFile(settings, environ).read()
    assert values(secrets[SecretRef("file", str(shared))]) == expected

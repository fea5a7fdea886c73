"""`notify`: the URL for notices of tier changes, and its secret."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.app.catalog_file import CatalogFile
from gateway.catalog import json_schema, parse
from gateway.catalog.model import Notify
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import ConfigError
from gateway.settings import Secret, read_settings

URL = "https://app.example.com/hooks/tiers?from=skpay"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDGHmqGfDJ/rQ="
SECRET_OF_24 = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
MAKE_ONE = "echo whsec_$(openssl rand -base64 32)"


def document(*notify: object) -> dict[str, Any]:
    """One app for each `notify`; None leaves it out."""
    return {
        "apps": [
            {
                "id": f"app{number}",
                "name": "An app",
                "hosts": [f"app{number}.example.com"],
                "upstream": "http://app:8080",
                "identity": [{"kind": "user_key"}],
                "urls": {"success": "https://a.example.com/", "cancel": "https://a.example.com/"},
                "tiers": [{"id": "free", "name": "Free"}],
                **({} if each is None else {"notify": each}),
            }
            for number, each in enumerate(notify)
        ]
    }


def problems(*notify: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps(document(*notify)).encode())
    return list(caught.value.problems)


def test_notify_has_a_url_and_a_secret() -> None:
    catalog = parse(json.dumps(document(None, {"url": URL, "secret": "file:/run/secrets/hook"})).encode())
    assert catalog.apps["app0"].notify is None
    assert catalog.apps["app1"].notify == Notify(URL, SecretRef("file", "/run/secrets/hook"))
    assert catalog.secret_refs() == (("apps[1].notify.secret", SecretRef("file", "/run/secrets/hook")),)


@pytest.mark.parametrize(
    ("notify", "problem"),
    [
        ({"url": URL}, "apps[0].notify.secret: required, but missing"),
        ({"secret": "env:HOOK"}, "apps[0].notify.url: required, but missing"),
        ({"url": "ftp://a.example.com", "secret": "env:HOOK"}, "it must start with http:// or https://"),
        ({"url": "https://bob:hunter2@a.example.com/", "secret": "env:HOOK"}, "no user name or password"),
        ({"url": "/hooks", "secret": "env:HOOK"}, "it must start with http:// or https://"),
        ({"url": 7, "secret": "env:HOOK"}, "apps[0].notify.url: expected a URL"),
        ({"url": URL, "secret": SECRET}, "apps[0].notify.secret: expected"),
        ({"url": URL, "secret": "env:HOOK", "sercet": "x"}, 'unknown key; did you mean "secret"?'),
        (URL, "apps[0].notify: expected an object"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_never_shown(notify: object, problem: str) -> None:
    [message] = problems(notify)
    assert problem in message
    assert "hunter2" not in message
    assert SECRET[6:20] not in message


def test_an_inline_secret_is_refused_as_such() -> None:
    assert problems({"url": URL, "secret": SECRET}) == [
        'apps.json: apps[0].notify.secret: expected "env:NAME" or "file:/path" where the secret is, '
        "got another text, not shown here: write a reference, never the secret itself"
    ]


def test_two_apps_cannot_sign_each_others_notices() -> None:
    [message] = problems({"url": URL, "secret": "env:HOOK"}, {"url": URL, "secret": "env:HOOK"})
    assert message.startswith("apps.json: apps[1].notify.secret: the same secret, ")
    assert "apps[0].notify.secret" in message


def test_the_schema_knows_notify() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(document({"url": URL, "secret": "env:HOOK"}))
    assert not validator.is_valid(document({"url": URL}))
    assert not validator.is_valid(document({"url": URL, "secret": SECRET}))


def read_file(folder: Path, secret: str | None) -> dict[SecretRef, tuple[Secret, ...]]:
    """What is read from an apps.json whose one app has `secret` in the variable HOOK."""
    path = folder / "apps.json"
    path.write_text(json.dumps(document({"url": URL, "secret": "env:HOOK"})))
    environ = {
        "STRIPE_SECRET_KEY": "sk_test_5d2f0b6c9e71",
        "STRIPE_WEBHOOK_SECRET": "whsec_5f3c8a1d7b6e",
        "GATE_SECRET": "gate-3b1f6f0de1a24c0f9b6f7d25e8c4",
        "ADMIN_TOKEN": "admin-9f0a7c41d2be4e5583c6f1a07b",
        "PUBLIC_URL": "https://pay.example.com",
        "APPS_FILE": str(path),
        **({} if secret is None else {"HOOK": secret}),
    }
    return CatalogFile(read_settings(environ), environ).read()[1]


@pytest.mark.parametrize("text", [SECRET, SECRET.rstrip("="), SECRET_OF_24, f" {SECRET_OF_24} , {SECRET} "])
def test_a_standard_webhooks_secret_is_valid(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = read_file(tmp_path, text)[SecretRef("env", "HOOK")]
    assert [secret.reveal() for secret in found] == [part.strip() for part in text.split(",")]
    assert caplog.records == []


@pytest.mark.parametrize(
    "text",
    [
        "correct-horse-battery-staple-and-more",
        SECRET.removeprefix("whsec_"),
        "whsec_not*base64*not*base64*not*base64*",
        "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI",
        "whsec_" + "QUFB" * 22,
        f"{SECRET},correct-horse-battery-staple-and-more",
    ],
    ids=["plain text", "no prefix", "no base64", "23 bytes", "66 bytes", "the old one"],
)
def test_any_other_secret_is_refused_with_the_command_that_makes_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_file(tmp_path, text)
    [problem] = caught.value.problems
    assert problem.startswith(f"{tmp_path}/apps.json: apps[0].notify.secret: env:HOOK is no Standard Webhooks secret")
    assert problem.endswith(MAKE_ONE)
    assert not any(part[8:20] in problem for part in text.split(","))


def test_a_missing_secret_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"apps\[0\]\.notify\.secret: env:HOOK is not set in the environment"):
        read_file(tmp_path, None)

"""The environment: every problem at once, by name, and never a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import Secret, Settings, read_settings

GOOD = {
    "STRIPE_SECRET_KEY": "sk_test_1a2b3c4d", "STRIPE_WEBHOOK_SECRET": "whsec_1a2b3c4d", "GATE_SECRET": "gate-1a2b3c4d",
    "ADMIN_TOKEN": "admin-1a2b3c4d", "LITELLM_URL": "http://litellm:4000", "LITELLM_KEY": "sk-1a2b3c4d5e6f",
    "PUBLIC_URL": "https://pay.example.com",
}  # fmt: skip
REQUIRED = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "GATE_SECRET", "ADMIN_TOKEN", "PUBLIC_URL")


def problems(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        read_settings(environ)
    return raised.value.problems


def settings(**more: str) -> Settings:
    return read_settings({**GOOD, **more})


def test_a_complete_environment_has_the_documented_defaults() -> None:
    found = settings()
    assert (found.port, found.gate_port, found.host) == (8080, 8081, "0.0.0.0")  # noqa: S104  # compared, not bound
    assert found.database_url == "sqlite:///data/skpayments.db"
    assert found.apps_file == Path("apps.json")
    assert found.stripe_api_base == "https://api.stripe.com"


def test_everything_missing_is_told_at_once_by_name() -> None:
    told = problems({})
    assert [line.partition(":")[0] for line in told] == list(REQUIRED)
    assert all("not set" in line for line in told)


@pytest.mark.parametrize("name", [*REQUIRED, "LITELLM_KEY"])
def test_each_one_missing_is_told_alone(name: str) -> None:
    (line,) = problems({key: value for key, value in GOOD.items() if key != name})
    assert line.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "name", ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "GATE_SECRET", "ADMIN_TOKEN", "LITELLM_KEY"]
)
@pytest.mark.parametrize(
    "value",
    ["", "  ", ",", "changeme", "Secret", "sk-1234", "whsec_", "good-1a2b3c,changeme", "one\ntwo-1a2b3c", "a\0b"],
)
def test_a_secret_that_is_none_is_refused_without_being_shown(name: str, value: str) -> None:
    (line,) = problems({**GOOD, name: value})
    assert line.startswith(f"{name}: ")
    for part in value.split(","):
        assert not part.strip() or part.strip() not in line.partition(". It is")[0]


def test_no_message_ever_holds_a_value() -> None:
    wrong = {
        **dict.fromkeys(GOOD, "leaked\nvalue"), "STRIPE_API_BASE": "leaked", "PORT": "eighty", "GATE_PORT": "99999",
    }  # fmt: skip
    told = "\n".join(problems(wrong))
    assert "leaked" not in told
    assert len(problems(wrong)) == 10


def test_without_litellm_no_key_is_wanted_and_a_key_alone_is_a_slip() -> None:
    without = {key: value for key, value in GOOD.items() if not key.startswith("LITELLM")}
    assert read_settings(without).litellm_url is None
    (line,) = problems({**without, "LITELLM_KEY": "sk-1a2b3c4d5e6f"})
    assert line.startswith("LITELLM_URL: ")


def test_a_secret_comes_from_a_file_without_its_line_break(tmp_path: Path) -> None:
    file = tmp_path / "gate"
    file.write_text("from-a-file-1a2b\r\n", encoding="utf-8")
    environ = {key: value for key, value in GOOD.items() if key != "GATE_SECRET"}
    assert read_settings({**environ, "GATE_SECRET_FILE": str(file)}).gate_secret == (Secret("from-a-file-1a2b"),)
    (line,) = problems({**GOOD, "GATE_SECRET_FILE": str(file)})
    assert "not both" in line


def test_a_secrets_file_that_cannot_be_used_is_told_by_name(tmp_path: Path) -> None:
    environ = {key: value for key, value in GOOD.items() if key != "GATE_SECRET"}
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"x" * 70_000)
    (tmp_path / "empty").write_bytes(b"\n")
    for name in ("missing", "binary", "huge", "empty", ""):
        (line,) = problems({**environ, "GATE_SECRET_FILE": str(tmp_path / name)})
        assert line.startswith(("GATE_SECRET_FILE: ", "GATE_SECRET: "))


def test_two_secrets_are_the_newest_first() -> None:
    assert settings(GATE_SECRET=" new-1a2b , old-1a2b ,").gate_secret == (Secret("new-1a2b"), Secret("old-1a2b"))


def test_a_live_key_goes_to_stripe_alone() -> None:
    for key in ("sk_live_1a2b", "rk_live_1a2b", "sk_test_1a2b,sk_live_1a2b"):
        (line,) = problems({**GOOD, "STRIPE_SECRET_KEY": key, "STRIPE_API_BASE": "http://127.0.0.1:8002"})
        assert line.startswith("STRIPE_API_BASE: ")
        assert settings(STRIPE_SECRET_KEY=key).stripe_secret_key[0].reveal() == key.partition(",")[0]


@pytest.mark.parametrize("key", ["pk_test_1a2b3c", "whsec_1a2b3c"])
def test_a_key_that_cannot_be_the_secret_one_is_refused(key: str) -> None:
    (line,) = problems({**GOOD, "STRIPE_SECRET_KEY": key})
    assert line.startswith("STRIPE_SECRET_KEY: ")
    assert key not in line


@pytest.mark.parametrize(
    "url", ["pay.example.com", "ftp://pay.example.com", "https://", "https://pay.example.com/pay", "https://u:p@pay.example.com",
            "https://pay.example.com?x=1", "https://pay.example.com#x", "https://pay.example.com:99999", "https://[::1"],
)  # fmt: skip
def test_a_public_url_is_a_host_of_its_own(url: str) -> None:
    """The buyer's page lives at /buy of that host; under a path nothing would be found."""
    (line,) = problems({**GOOD, "PUBLIC_URL": url})
    assert line.startswith("PUBLIC_URL: ")


def test_a_closing_slash_is_cut() -> None:
    found = settings(PUBLIC_URL="https://pay.example.com/", LITELLM_URL="http://litellm:4000/proxy/")
    assert (found.public_url, found.litellm_url) == ("https://pay.example.com", "http://litellm:4000/proxy")


@pytest.mark.parametrize("port", ["x", "-1", "65536", "080800", "8080.0", "0x50", "8 080"])
def test_a_port_is_a_number(port: str) -> None:
    assert problems({**GOOD, "PORT": port})[0].startswith("PORT: ")


def test_both_listeners_on_one_port_are_refused() -> None:
    (line,) = problems({**GOOD, "PORT": "9000", "GATE_PORT": "9000"})
    assert line.startswith("GATE_PORT: ")


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104  # compared, not bound
        ("::", "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("fd00::1", "[fd00::1]"),
    ],  # compared, not bound
)
def test_our_own_commands_know_where_the_server_listens(host: str, reached: str) -> None:
    assert settings(HOST=host).own_host == reached


def test_a_secret_prints_as_stars_wherever_it_is_put() -> None:
    secret = Secret("very-secret-1a2b")
    for text in (str(secret), repr(secret), f"{secret}", f"{[secret]}", f"{settings(GATE_SECRET='very-secret-1a2b')}"):
        assert "very-secret" not in text
    assert secret.reveal() == "very-secret-1a2b"
    assert secret == Secret("very-secret-1a2b")
    assert secret != "very-secret-1a2b"

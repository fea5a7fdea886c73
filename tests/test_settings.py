"""The environment: every problem at once, by name, and never a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import Secret, Settings, read_gate_settings, read_settings
from gateway.store.store import store_url

GOOD = {
    "STRIPE_SECRET_KEY": "sk_test_1a2b3c4d", "STRIPE_WEBHOOK_SECRET": "whsec_1a2b3c4d",
    "GATE_SECRET": "gate-1a2b3c4d5e6f7a8b9c0d1e2f3a4b",
    "ADMIN_TOKEN": "admin-1a2b3c4d5e6f7a8b9c0d1e2f3a",
    "LITELLM_URL": "http://litellm:4000", "LITELLM_KEY": "sk-1a2b3c4d5e6f",
    "PUBLIC_URL": "https://pay.example.com",
}  # fmt: skip
NEW, OLD = "new-1a2b3c4d5e6f7a8b9c0d1e2f3a4b", "old-1a2b3c4d5e6f7a8b9c0d1e2f3a4b"
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


def test_all_missing_variables_are_reported_at_once_by_name() -> None:
    reported = problems({})
    assert [line.partition(":")[0] for line in reported] == list(REQUIRED)
    assert all("not set" in line for line in reported)


@pytest.mark.parametrize("name", [*REQUIRED, "LITELLM_KEY"])
def test_each_missing_variable_is_reported_alone(name: str) -> None:
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
    reported = "\n".join(problems(wrong))
    assert "leaked" not in reported
    assert len(problems(wrong)) == 10


def test_without_litellm_no_key_is_needed_and_a_key_alone_is_a_mistake() -> None:
    without = {key: value for key, value in GOOD.items() if not key.startswith("LITELLM")}
    assert read_settings(without).litellm_url is None
    (line,) = problems({**without, "LITELLM_KEY": "sk-1a2b3c4d5e6f"})
    assert line.startswith("LITELLM_URL: ")


def test_a_secret_comes_from_a_file_without_its_line_break(tmp_path: Path) -> None:
    file = tmp_path / "gate"
    file.write_text("from-a-file-1a2b3c4d5e6f7a8b9c0d1e\r\n", encoding="utf-8")
    environ = {key: value for key, value in GOOD.items() if key != "GATE_SECRET"}
    assert read_settings({**environ, "GATE_SECRET_FILE": str(file)}).gate_secret == (
        Secret("from-a-file-1a2b3c4d5e6f7a8b9c0d1e"),
    )
    (line,) = problems({**GOOD, "GATE_SECRET_FILE": str(file)})
    assert "not both" in line


def test_an_unusable_secrets_file_is_reported_by_name(tmp_path: Path) -> None:
    environ = {key: value for key, value in GOOD.items() if key != "GATE_SECRET"}
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"x" * 70_000)
    (tmp_path / "empty").write_bytes(b"\n")
    for name in ("missing", "binary", "huge", "empty", ""):
        (line,) = problems({**environ, "GATE_SECRET_FILE": str(tmp_path / name)})
        assert line.startswith(("GATE_SECRET_FILE: ", "GATE_SECRET: "))


def test_two_secrets_are_the_newest_first() -> None:
    assert settings(GATE_SECRET=f" {NEW} , {OLD} ,").gate_secret == (Secret(NEW), Secret(OLD))


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
    secret = Secret("very-secret-1a2b3c4d5e6f7a8b9c0d")
    for text in (
        str(secret),
        repr(secret),
        f"{secret}",
        f"{[secret]}",
        f"{settings(GATE_SECRET='very-secret-1a2b3c4d5e6f7a8b9c0d')}",
    ):
        assert "very-secret" not in text
    assert secret.reveal() == "very-secret-1a2b3c4d5e6f7a8b9c0d"
    assert secret == Secret("very-secret-1a2b3c4d5e6f7a8b9c0d")
    assert secret != "very-secret-1a2b3c4d5e6f7a8b9c0d"


@pytest.mark.parametrize("name", ["GATE_SECRET", "ADMIN_TOKEN"])
@pytest.mark.parametrize(
    ("value", "reported"),
    [
        ("abc", "has 3 bytes, fewer than 32"),
        ("1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6", "has 31 bytes, fewer than 32"),
        ("changemechangemechangemechangeme", "well-known default or placeholder"),
        ("please-CHANGE_ME-to-a-long-random-text", "well-known default or placeholder"),
        ("a" * 64, "is repetitive"),
        ("12345678" * 4, "is repetitive"),
        ("sk_test_1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d", "a secret API key (sk_…)"),
        ('"1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d"', "is in quotes"),
        ("'1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d'", "is in quotes"),
    ],
)
def test_a_secret_of_our_own_that_can_be_guessed_is_refused(name: str, value: str, reported: str) -> None:
    (line,) = problems({**GOOD, name: value})
    assert line.startswith(f"{name}: ")
    assert reported in line
    assert value not in line
    assert "openssl rand -hex 32" in line
    (line,) = problems({**GOOD, name: f"{NEW},{value}"})
    assert reported in line


def test_thirty_two_bytes_are_enough_and_each_secret_is_its_own() -> None:
    assert settings(GATE_SECRET="1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d").gate_secret
    (line,) = problems({**GOOD, "ADMIN_TOKEN": f"{NEW},{GOOD['GATE_SECRET']}"})
    assert line.startswith("ADMIN_TOKEN: is the same as GATE_SECRET")


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("STRIPE_WEBHOOK_SECRET", "we_1NcX2aLkdIwHu7ix", "a webhook endpoint (we_…); it must be a signing secret"),
        ("STRIPE_WEBHOOK_SECRET", '"whsec_1a2b3c4d"', "is in quotes, which are taken as part of it; remove them"),
        ("STRIPE_WEBHOOK_SECRET", "\u201cwhsec_1a2b3c4d\u201d", "is in quotes"),
        ("STRIPE_WEBHOOK_SECRET", "sk_test_1a2b3c4d", "is a secret API key (sk_…); it must be a signing secret"),
        ("STRIPE_WEBHOOK_SECRET", "ed_test_61RM8ltWcTW4mbsxf16RJyfa2", "is the id of an event destination"),
        ("STRIPE_WEBHOOK_SECRET", "1a2b3c4d", "is not a signing secret; it must be a signing secret (whsec_…)"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_1a2b…9z", "characters that Stripe does not use"),
        ("STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET=whsec_1a2b3c4d", "begins with STRIPE_WEBHOOK_SECRET="),
        ("STRIPE_SECRET_KEY", "whsec_1a2b3c4d", "a webhook endpoint (whsec_…); it must be a secret"),
        ("STRIPE_SECRET_KEY", "pk_test_1a2b3c4d", "is a publishable key (pk_…); it must be a secret or restricted key"),
        ("STRIPE_SECRET_KEY", "acct_1NcX2aLkdIwHu7ix", "is the id of an account"),
        ("STRIPE_SECRET_KEY", "'sk_test_1a2b3c4d'", "is in quotes"),
        ("STRIPE_SECRET_KEY", "sk_test_...1a2b", "characters that Stripe does not use"),
        ("STRIPE_SECRET_KEY", "sk_test_your_key_here", "is a placeholder"),
        ("STRIPE_SECRET_KEY", "Bearer sk_test_1a2b3c4d", 'begins with "Bearer "'),
        ("STRIPE_SECRET_KEY", "\ufeffsk_test_1a2b3c4d", "byte order mark"),
        ("LITELLM_KEY", "sk_live_1a2b3c4d", "is a secret API key (sk_…)"),
        ("LITELLM_KEY", '"sk-1a2b3c4d5e6f"', "is in quotes"),
    ],
)  # fmt: skip
def test_a_secret_of_another_kind_is_called_what_it_is(name: str, value: str, reported: str) -> None:
    (line,) = problems({**GOOD, name: value})
    assert line.startswith(f"{name}: ")
    assert reported in line
    assert value.strip("\"'") not in line


@pytest.mark.parametrize("key", ["sk_live_51NcX2aLkd", "rk_live_51NcX2aLkd", "rk_test_51NcX2aLkd"])
def test_restricted_and_live_keys_are_keys(key: str) -> None:
    assert settings(STRIPE_SECRET_KEY=key).stripe_secret_key[0].reveal() == key


@pytest.mark.parametrize(
    ("url", "reported"),
    [
        ("mysql://u:hunter2@db/pay", "names a MySQL database, which is not supported"),
        ("mysql+pymysql://u:hunter2@db/pay", "names a MySQL database, which is not supported"),
        ("mariadb://u:hunter2@db/pay", "names a MariaDB database"),
        ("sqllite:///data/pay.db", 'has the unknown scheme "sqllite"; did you mean sqlite?'),
        ("postgressql://u:hunter2@db/pay", "did you mean postgresql?"),
        ("postgresql+asyncpg://u:hunter2@db/pay", "use postgresql://… without a driver"),
        ("jdbc:postgresql://u:hunter2@db/pay", "use postgresql://… without a driver"),
        ("/data/pay.db", "is a path; expected sqlite:////data/skpayments.db"),
        ("data.db", "has no scheme"),
        ("sqlite://data/pay.db", "has two slashes after sqlite:"),
        ('"sqlite:///data/pay.db"', "is in quotes"),
        ("postgresql://u:hunt@er2@db/pay", "has an @ or / in its password; write %40"),
        ("postgresql://u:hunter/2@db/pay", "has an @ or / in its password"),
        ("postgresql://u:hunter2@db:port/pay", "has a port that is not a number"),
        ("postgresql://u:hunter2@db:99999/pay", "has a port that is not a number"),
    ],
)
def test_a_database_that_we_cannot_use_is_named_at_once(url: str, reported: str) -> None:
    (line,) = problems({**GOOD, "DATABASE_URL": url})
    assert line.startswith("DATABASE_URL: ")
    assert reported in line
    assert "hunt" not in line
    with pytest.raises(ConfigError, match=re.escape(reported)):
        store_url(url)


@pytest.mark.parametrize(
    "url",
    ["sqlite:////data/pay.db", "sqlite:///data/pay.db?mode=rw", "postgresql://u:p%40ss@db:5432/pay", "postgres://db/pay",
     "postgresql:///pay?host=/run/postgresql", "postgresql://u@[fd00::1]:5432/pay", "postgresql+psycopg://db/pay"],
)  # fmt: skip
def test_the_usual_database_urls_are_taken(url: str) -> None:
    assert settings(DATABASE_URL=url).database_url == url
    assert store_url(url).drivername in ("sqlite", "postgresql+psycopg")


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("PUBLIC_URL", "http://pay.example.com", "uses http at a public host"),
        ("PUBLIC_URL", "http://93.184.215.14", "uses http at a public host"),
        ("PUBLIC_URL", "https://pay.example.com/pay", 'has the path "/pay"'),
        ("PUBLIC_URL", '"https://pay.example.com"', "is in quotes"),
        ("PUBLIC_URL", "pay.example.com", "begins with neither http:// nor https://"),
        ("PUBLIC_URL", "https://pay.example.com:pay", "has an invalid port"),
        ("LITELLM_URL", "litellm:4000", "expected LiteLLM's address, such as \"http://litellm:4000\""),
        ("LITELLM_URL", "http://litellm:4000/v1", 'ends in "/v1"'),
        ("LITELLM_URL", "http://litellm:4000/ui/", 'ends in "/ui"'),
        ("STRIPE_API_BASE", "https://api.stripe.com/v1", 'but must have none, such as "https://api.stripe.com"'),
        ("HOST", "http://0.0.0.0", "leave out the scheme"),
        ("HOST", "0.0.0.0:8080", "the ports are PORT and GATE_PORT"),
        ("HOST", "[::]", "without brackets"),
        ("HOST", "300.1.2.3", "expected an address"),
        ("HOST", "all of them", "expected an address"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_work_says_why(name: str, value: str, reported: str) -> None:
    (line,) = problems({**GOOD, name: value})
    assert line.startswith(f"{name}: ")
    assert reported in line


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000", "http://pay.localhost:8000", "http://127.0.0.1:8080", "http://pay", "http://10.1.2.3"],
)
def test_plain_http_is_for_networks_of_ones_own(url: str) -> None:
    assert settings(PUBLIC_URL=url).public_url == url


def test_a_folder_where_docker_was_to_mount_a_secret_is_named(tmp_path: Path) -> None:
    environ = {key: value for key, value in GOOD.items() if key != "GATE_SECRET"}
    (line,) = problems({**environ, "GATE_SECRET_FILE": str(tmp_path)})
    assert "is a folder; Docker creates one if the mounted file is missing" in line


@pytest.mark.parametrize("count", ["many", "-1", "65", "1.5", "٢"])
def test_a_number_of_gate_processes_is_0_to_64(count: str) -> None:
    (line,) = problems({**GOOD, "GATE_PROCESSES": count})
    assert line == f'GATE_PROCESSES: expected a number from 0 to 64, got "{count}"'


def test_a_gate_needs_nothing_of_stripe() -> None:
    without = {name: value for name, value in GOOD.items() if not name.startswith("STRIPE_")}
    found = read_gate_settings(without)
    assert (found.gate_port, found.main_url) == (8081, "http://127.0.0.1:8080")
    assert read_gate_settings({**without, "MAIN_URL": "http://main:9000/"}).main_url == "http://main:9000"
    with pytest.raises(ConfigError) as missing:
        read_gate_settings({})
    assert [line.partition(":")[0] for line in missing.value.problems] == ["GATE_SECRET", "ADMIN_TOKEN", "PUBLIC_URL"]

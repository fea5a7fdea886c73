"""The environment, read once into a frozen `Settings`; and `Secret`, a value that prints as stars."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.files import decoded
from gateway.setting_rules import (
    database_problem,
    host_problem,
    paste_problem,
    public_url_problem,
    secret_rule,
    url_problem,
)
from gateway.setting_variables import VARIABLES

STRIPE_API_BASE = VARIABLES["STRIPE_API_BASE"].default or ""
_MAX_SECRET_FILE_BYTES = 64 * 1024
# Secrets of examples and tutorials.
_WELL_KNOWN_SECRETS = {
    "changeme", "change-me", "change_me", "secret", "password", "admin", "token", "test", "example", "default",
    "t0p-s3cr3t", "your-secret-key", "your_secret_key", "sk-1234", "whsec_", "sk_test_", "sk_live_", "insecure",
}  # fmt: skip
MAX_GATE_PROCESSES = 64
_DIGITS = re.compile(r"[0-9]{1,5}")


class Secret:
    """A secret text that prints as stars in logs and tracebacks; call `reveal()` only where it is used."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def local_host(host: str) -> str:
    """The host of a URL for programs on this machine: loopback unless HOST is a single address."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


Secrets = tuple[Secret, ...]
"""The newest first; more than one only while a secret is being rolled (`new,old`)."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a gate needs of the environment. Each secret is a tuple, newest first; only LiteLLM's may be empty."""

    gate_secret: Secrets
    admin_token: Secrets
    litellm_url: str | None
    litellm_key: Secrets
    database_url: str
    apps_file: Path
    public_url: str
    port: int
    gate_port: int
    host: str
    main_url: str
    gate_cache: Path | None

    @property
    def own_host(self) -> str:
        """The host for URLs of programs on this machine."""
        return local_host(self.host)


@dataclass(frozen=True, slots=True)
class Settings(GateSettings):
    """The whole environment. `gate_processes` None: as many as fit this machine."""

    stripe_secret_key: Secrets
    stripe_webhook_secret: Secrets
    stripe_api_base: str
    gate_processes: int | None


def split_secret(text: str) -> Secrets:
    """`new,old` as two secrets, stripped; empty parts are dropped."""
    return tuple(Secret(part.strip()) for part in text.split(",") if part.strip())


def split_vendor_key(text: str) -> Secrets:
    """A key of a vendor: the parts of `new,old`, then the whole text, since a key may hold a comma. The vendor accepts
    the right one."""
    whole = (Secret(text.strip()),) if text.strip(", \r\n\t") else ()
    return tuple(dict.fromkeys([*split_secret(text), *whole]))


def secret_problem(value: str) -> str | None:
    """Why `value` must not be used as a secret, or None. Never quotes the value."""
    if not value.strip():
        return "is empty"
    if value.strip().lower() in _WELL_KNOWN_SECRETS:
        return "is a well-known default; generate another one"
    if not value.isprintable():
        return "has a line break or another unprintable character"
    return None


def read_secret_file(path: Path) -> str:
    """The text of a secret's file without its final line break. Raises `OSError` or `ValueError`."""
    return read_secret_text(path).rstrip("\r\n")


def read_secret_text(path: Path) -> str:
    """The unchanged text of a secret's file. Raises `OSError` or `ValueError`."""
    with path.open("rb") as file:
        data = file.read(_MAX_SECRET_FILE_BYTES + 1)
    if len(data) > _MAX_SECRET_FILE_BYTES:
        raise ValueError("is larger than 64 KiB")
    return decoded(data)


def file_problem(error: OSError | ValueError) -> str:
    """Why the file of a secret could not be read."""
    if isinstance(error, IsADirectoryError):
        return "is a folder; Docker creates one if the mounted file is missing: remove it and create the file"
    if isinstance(error, OSError):
        return f"{error.strerror}"
    return str(error)


class _EnvironmentReader:
    """Collects every problem while the environment is read, so that all are reported at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        """The stripped value, or the default; empty if there is neither."""
        return self.environ.get(name, "").strip() or VARIABLES[name].default or ""

    def secret(self, name: str, *, required: bool = True, split: Callable[[str], Secrets] = split_secret) -> Secrets:
        what = VARIABLES[name].what
        file_name = self.environ.get(f"{name}_FILE", "")
        text = self.environ.get(name, "")
        if file_name and text:
            self.problems.append(f"{name}: set either {name} or {name}_FILE, not both")
            return ()
        if file_name:
            try:
                text = read_secret_file(Path(file_name))
            except (OSError, ValueError) as exc:
                self.problems.append(f"{name}_FILE: cannot read {file_name}: {file_problem(exc)}")
                return ()
        elif name not in self.environ and f"{name}_FILE" not in self.environ:
            if required:
                self.problems.append(f"{name}: not set. It is {what}; set {name} or {name}_FILE")
            return ()
        secrets = split(text)
        if not secrets:
            if required or text:
                self.problems.append(f"{name}: is empty. It is {what}")
            return ()
        rule = secret_rule(name)
        for secret in secrets:
            value = secret.reveal()
            problem = paste_problem(name, value) or secret_problem(value) or rule(value)
            if problem:
                self.problems.append(f"{name}: {problem}. It is {what}")
                return ()
        return secrets

    def url(self, name: str, *, may_have_path: bool = True) -> str | None:
        text, example = self.text(name), VARIABLES[name].example
        if not text:
            return None
        problem = url_problem(text)
        if problem:
            self.problems.append(f'{name}: {problem}; expected {VARIABLES[name].what}, such as "{example}"')
            return None
        text = text.rstrip("/")
        path = urlsplit(text).path
        if path and not may_have_path:
            self.problems.append(f'{name}: has the path "{path[:60]}", but must have none, such as "{example}"')
        return text

    def count(self, name: str, maximum: int) -> int:
        text = self.text(name)
        if not _DIGITS.fullmatch(text) or int(text) > maximum:
            self.problems.append(f'{name}: expected a number from 0 to {maximum}, got "{text[:20]}"')
            return 0
        return int(text)

    def port(self, name: str) -> int:
        text = self.text(name)
        if not _DIGITS.fullmatch(text) or not 0 <= int(text) <= 65535:
            self.problems.append(f'{name}: expected a port number from 0 to 65535, got "{text[:20]}"')
            return int(VARIABLES[name].default or 0)
        return int(text)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`; all missing or wrong variables are reported at once, by name, never by value.

    Raises `ConfigError`.
    """
    reader = _EnvironmentReader(environ)
    key, webhook_secret, api_base = _stripe(reader)
    of_gate = _of_gate(reader)
    gate_processes = reader.count("GATE_PROCESSES", MAX_GATE_PROCESSES) if reader.text("GATE_PROCESSES") else None
    if reader.problems:
        raise ConfigError(reader.problems)
    return Settings(
        **of_gate,
        stripe_secret_key=key,
        stripe_webhook_secret=webhook_secret,
        stripe_api_base=api_base,
        gate_processes=gate_processes,
    )


def read_gate_settings(environ: Mapping[str, str]) -> GateSettings:
    """The settings of a process that is only a gate: nothing of Stripe's. Raises `ConfigError`."""
    reader = _EnvironmentReader(environ)
    of_gate = _of_gate(reader)
    if reader.problems:
        raise ConfigError(reader.problems)
    return GateSettings(**of_gate)


def _of_gate(reader: _EnvironmentReader) -> dict[str, Any]:
    """The fields of `GateSettings`."""
    gate_secret, admin_token = _own_secrets(reader)
    litellm_url, litellm_key = _litellm(reader)
    public_url = _public_url(reader)
    port, gate_port = _ports(reader)
    database_url, host, gate_cache = reader.text("DATABASE_URL"), reader.text("HOST"), reader.text("GATE_CACHE")
    for name, problem in (("DATABASE_URL", database_problem(database_url)), ("HOST", host_problem(host))):
        if problem:
            reader.problems.append(f"{name}: {problem}")
    return {
        "gate_secret": gate_secret,
        "admin_token": admin_token,
        "litellm_url": litellm_url,
        "litellm_key": litellm_key,
        "database_url": database_url,
        "apps_file": Path(reader.text("APPS_FILE")),
        "public_url": public_url,
        "port": port,
        "gate_port": gate_port,
        "host": host,
        "main_url": reader.url("MAIN_URL", may_have_path=False) or f"http://{local_host(host)}:{port}",
        "gate_cache": Path(gate_cache) if gate_cache else None,
    }


def database_url_of(environ: Mapping[str, str]) -> str:
    return _EnvironmentReader(environ).text("DATABASE_URL")


def apps_file_of(environ: Mapping[str, str]) -> Path:
    return Path(_EnvironmentReader(environ).text("APPS_FILE"))


def _stripe(reader: _EnvironmentReader) -> tuple[Secrets, Secrets, str]:
    """The API key, the webhook secret and the API's address."""
    key, webhook_secret = reader.secret("STRIPE_SECRET_KEY"), reader.secret("STRIPE_WEBHOOK_SECRET")
    api_base = reader.url("STRIPE_API_BASE", may_have_path=False)
    if any("_live_" in secret.reveal() for secret in key) and api_base != STRIPE_API_BASE:
        reader.problems.append(
            "STRIPE_API_BASE: a live key is sent to Stripe only; unset STRIPE_API_BASE or use a test key"
        )
    return key, webhook_secret, api_base or STRIPE_API_BASE


def _own_secrets(reader: _EnvironmentReader) -> tuple[Secrets, Secrets]:
    """GATE_SECRET and ADMIN_TOKEN."""
    gate_secret, admin_token = reader.secret("GATE_SECRET"), reader.secret("ADMIN_TOKEN")
    if set(gate_secret) & set(admin_token):
        reader.problems.append("ADMIN_TOKEN: is the same as GATE_SECRET, which Traefik has too; use another one")
    return gate_secret, admin_token


def _litellm(reader: _EnvironmentReader) -> tuple[str | None, Secrets]:
    """The address and the key; LiteLLM is optional."""
    url = _litellm_url(reader)
    key = reader.secret("LITELLM_KEY", required=url is not None, split=split_vendor_key)
    if key and url is None and "LITELLM_URL" not in reader.environ:
        reader.problems.append("LITELLM_URL: not set, but LITELLM_KEY is. Set both, or neither")
    return url, key


def _ports(reader: _EnvironmentReader) -> tuple[int, int]:
    port, gate_port = reader.port("PORT"), reader.port("GATE_PORT")
    if port == gate_port and port != 0:
        reader.problems.append(f"GATE_PORT: is {gate_port}, the same as PORT; the gate needs another port")
    return port, gate_port


def _litellm_url(reader: _EnvironmentReader) -> str | None:
    url = reader.url("LITELLM_URL")
    last = "" if url is None else urlsplit(url).path.rpartition("/")[2]
    if last in ("v1", "ui"):
        reader.problems.append(f'LITELLM_URL: ends in "/{last}", which is not part of the address; remove it')
    return url


def _public_url(reader: _EnvironmentReader) -> str:
    text, variable = reader.text("PUBLIC_URL"), VARIABLES["PUBLIC_URL"]
    what = f"not set. It is {variable.what}, such as {variable.example}"
    problem = public_url_problem(text) if text else what
    if problem:
        reader.problems.append(f"PUBLIC_URL: {problem}")
    return text.rstrip("/")

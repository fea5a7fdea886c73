"""The files that `skpay init` writes, with their modes: checked first, then all written, or none."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from gateway.catalog import json_schema_text, parse
from gateway.cli.init_catalog import Answers, catalog_text
from gateway.cli.init_compose import compose_text, env_text, litellm_text
from gateway.cli.shipped import PACKAGE, shipped
from gateway.errors import ConfigError
from gateway.routing import Plan, default_formats, files_of, plan
from gateway.routing.static import static_files
from gateway.settings import read_settings

Files = dict[str, tuple[str, int]]
"""Texts and modes, by place in the folder."""
_E_MAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_PUBLIC, _PRIVATE, _PRIVATE_FOLDER = 0o644, 0o600, 0o700


def check_answers(answers: Answers) -> None:
    """Check the files as `skpay check` does. Raises `ConfigError`."""
    parse(catalog_text(answers).encode(), "apps.json")
    if answers.acme_email and not _E_MAIL.fullmatch(answers.acme_email):
        raise ConfigError([f'--acme-email: expected an e-mail address, got "{answers.acme_email}"'])
    environ = {
        "STRIPE_SECRET_KEY": answers.stripe_key or f"sk_test_{secrets.token_hex(24)}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(24)}",
        "GATE_SECRET": secrets.token_urlsafe(32),
        "ADMIN_TOKEN": secrets.token_urlsafe(32),
        "PUBLIC_URL": answers.public_url,
    }
    if answers.litellm_url:
        environ.update(LITELLM_URL=answers.litellm_url, LITELLM_KEY=_key())
    read_settings(environ)


def folder_of(answers: Answers, catalog: str, folder: Path) -> Files:
    """Every file, with new secrets."""
    routes = plan(parse(catalog.encode(), "apps.json"), answers.public_url)
    values = _values(answers)
    files: Files = {
        "apps.json": (catalog, _PUBLIC),
        "apps.schema.json": (json_schema_text(), _PUBLIC),
        "docker-compose.yml": (compose_text(answers, _relative_to(folder)), _PUBLIC),
        ".env": (env_text(answers, values), _PRIVATE),
        ".gitignore": (".env\nsecrets/\n", _PUBLIC),
    }
    for name in _files(answers):
        files[f"secrets/{name}"] = (f"{values[name]}\n" if values[name] else "", _PRIVATE)
    for place, text in _routing_files(routes).items():
        files[f"traefik/{place}"] = (text.replace("you@example.com", answers.acme_email), _PUBLIC)
    if answers.litellm_here:
        files["litellm/config.yaml"] = (litellm_text(answers), _PUBLIC)
        files["litellm/keys.py"] = (_template("litellm_keys.py.txt"), _PUBLIC)
    return files


def _routing_files(routes: Plan) -> dict[str, str]:
    """The files of `skpay routes write`, and Traefik's static configuration; its container has no Docker socket."""
    texts = static_files(routes.routing, docker=False)
    for name in default_formats(routes.routing.provider):
        texts.update(files_of(routes, name))
    return texts


def write_folder(folder: Path, files: Files) -> list[Path]:
    """Write all files, or none if one exists already. Raises `ConfigError`."""
    standing = [folder / place for place in files if os.path.lexists(folder / place)]
    if standing:
        more = f" and {len(standing) - 1} more" if len(standing) > 1 else ""
        raise ConfigError([f"{standing[0]}{more}: exists, and init overwrites nothing; name another folder"])
    made: list[Path] = []
    try:
        for place, (text, mode) in files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if mode == _PRIVATE and path.parent != folder:
                path.parent.chmod(_PRIVATE_FOLDER)
            _write_new(path, text, mode)
            made.append(path)
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return made


def _write_new(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask is
        file.write(text)


def _files(answers: Answers) -> list[str]:
    """The secrets that SKPayments reads, by file."""
    names = ["stripe_secret_key", "stripe_webhook_secret", "gate_secret", "admin_token", f"{answers.app_id}_api_key"]
    if answers.identity is None:
        names.append("webui_secret_key")
    return [*names, "litellm_key", "litellm_shared_key"] if answers.litellm_url else names


def _values(answers: Answers) -> Mapping[str, str]:
    """Each secret; those issued by others (Stripe, an existing LiteLLM) are empty until the operator pastes them."""
    words = ("gate_secret", "admin_token", f"{answers.app_id}_api_key", "webui_secret_key", "postgres_password")
    keys = ("litellm_master_key", "litellm_salt_key", "litellm_key", "litellm_shared_key")
    return {
        "stripe_secret_key": answers.stripe_key,
        "stripe_webhook_secret": "",
        **{name: secrets.token_urlsafe(32) for name in words},
        **{name: _key() if answers.litellm_here else "" for name in keys},
    }


def _key() -> str:
    return f"sk-{secrets.token_urlsafe(32)}"


def _relative_to(folder: Path) -> tuple[str, str]:
    """The paths of the code and the plugin for compose: relative if the new folder is in the checkout, else absolute.

    So a folder written in a container, where the checkout is mounted, works on the host too.
    """
    return _path_from(folder, PACKAGE), _path_from(folder, shipped("traefik/plugins-local"))


def _path_from(folder: Path, path: Path) -> str:
    here = folder.resolve()
    if here.is_relative_to(PACKAGE.parent):
        relative = os.path.relpath(path, here)
        return relative if relative.startswith("..") else f"./{relative}"
    return str(path)


def _template(name: str) -> str:
    return (Path(__file__).parent / "init_files" / name).read_text(encoding="utf-8")

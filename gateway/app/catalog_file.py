"""apps.json on disk: read with the secrets it names, and checked for changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gateway.app.secret_values import ambiguous_secrets, is_external, is_foreign_key, read_secret_ref
from gateway.billing.notify.signature import signing_key
from gateway.catalog import parse
from gateway.catalog.model import Catalog
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import ConfigError
from gateway.log import fields
from gateway.settings import Secrets

log = logging.getLogger(__name__)

HS256_BYTES = 32
_Stat = tuple[int, int, int]


class CatalogSettings(Protocol):
    """What of `Settings` is needed to read apps.json."""

    @property
    def apps_file(self) -> Path: ...

    @property
    def litellm_url(self) -> str | None: ...


class CatalogFile:
    """The file of `Settings.apps_file`. `read` can be repeated; `changed` is one stat."""

    def __init__(self, settings: CatalogSettings, environ: Mapping[str, str]) -> None:
        self._path = settings.apps_file
        self._environ = environ
        self._litellm = settings.litellm_url is not None
        self._last_stat: _Stat | None = None

    def changed(self) -> bool:
        """Whether the file is another one, or newer, than at the last `read`, whether that succeeded or not."""
        return self._stat() != self._last_stat

    def forget(self) -> None:
        """Make `changed` True: what was read could not be installed because of a temporary failure."""
        self._last_stat = (-1, -1, -1)

    def read(self) -> tuple[Catalog, dict[SecretRef, Secrets]]:
        """The catalog and every secret it names. Raises `ConfigError` with every problem of both."""
        self._last_stat = self._stat()
        name = str(self._path)
        try:
            raw = self._path.read_bytes()
        except OSError as exc:
            raise ConfigError([f"{name}: cannot be read: {exc.strerror}; set APPS_FILE to your apps.json"]) from exc
        catalog = parse(raw, name)
        secrets: dict[SecretRef, Secrets] = {}
        problems: list[str] = []
        for path, ref in catalog.secret_refs():
            try:
                secrets[ref] = read_secret_ref(
                    ref, self._environ, external=is_external(path), foreign_key=is_foreign_key(path)
                )
                if path.endswith(".notify.secret"):
                    for secret in secrets[ref]:
                        signing_key(secret)
            except ValueError as exc:
                problems.append(f"{name}: {path}: {ref} {exc}")
            else:
                _warn_if_short(path, ref, secrets[ref])
        if not self._litellm:
            problems += [
                f"{name}: apps[{number}].litellm: LITELLM_URL is not set; set it, or take litellm out of the app"
                for number, app in enumerate(catalog.apps.values())
                if app.litellm is not None
            ]
            problems += [
                f"{name}: apps[{number}].identity[{position}]: LITELLM_URL is not set; set it, or take {kind.kind} out"
                for number, app in enumerate(catalog.apps.values())
                for position, kind in enumerate(app.identity)
                if kind.app_is_litellm
            ]
        if problems:
            raise ConfigError(problems)
        for path, ref in ambiguous_secrets(catalog, self._environ):
            log.warning("secret_ambiguous", extra=fields(where=path, name=str(ref)))
        return catalog, secrets

    def _stat(self) -> _Stat | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _warn_if_short(path: str, ref: SecretRef, secrets: Secrets) -> None:
    if is_external(path) and any(len(secret.reveal().encode()) < HS256_BYTES for secret in secrets):
        log.warning("secret_short", extra=fields(where=path, name=str(ref), required_bytes=HS256_BYTES))

"""The configuration: the environment, apps.json and the secrets that it names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.app.catalog_file import CatalogFile
from gateway.catalog.model import Catalog
from gateway.errors import ConfigError
from gateway.routing import plan
from gateway.settings import Settings, apps_file_of, read_settings


@dataclass(frozen=True, slots=True)
class _CatalogSettings:
    apps_file: Path
    litellm_url: str | None


def configuration() -> tuple[Settings, Catalog]:
    """Raises `ConfigError` with the problems of the environment and of apps.json."""
    problems: list[str] = []
    found: Settings | None = None
    try:
        found = read_settings(os.environ)
    except ConfigError as exc:
        problems += exc.problems
    where = found or _CatalogSettings(apps_file_of(os.environ), os.environ.get("LITELLM_URL"))
    try:
        catalog, _ = CatalogFile(where, os.environ).read()
        if found is not None:
            plan(catalog, found.public_url)
            return found, catalog
    except ConfigError as exc:
        problems += exc.problems
    raise ConfigError(problems)

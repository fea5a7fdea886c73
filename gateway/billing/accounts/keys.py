"""API keys of apps and users: shown once, stored as a hash. Several may be valid at once, for rotation."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import Literal

from sqlalchemy import Connection

from gateway.access.keys import key_hash
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.operator_choices import find_app
from gateway.catalog.model import Catalog
from gateway.errors import NotAuthenticated
from gateway.store import keys
from gateway.store.keys import Key
from gateway.user_ids import check_user_id

PREFIX: dict[Literal["app", "user"], str] = {"app": "ska_", "user": "skp_"}


def create_key(
    conn: Connection, catalog: Catalog, app_id: str, user_id: str | None, name: str, now: int
) -> tuple[Key, str]:
    """A new key of an app, or of one of its users when `user_id` is given; its text is returned this once.

    Raises `NotFound` for an unknown app, `InvalidInput`, `Conflict` for a third live key of an app.
    """
    find_app(catalog, app_id)
    kind: Literal["app", "user"] = "app" if user_id is None else "user"
    text = PREFIX[kind] + secrets.token_urlsafe(32)
    owner = None if user_id is None else check_user_id(user_id)
    return keys.add(conn, kind, key_hash(text), app_id, owner, name, now), text


def shown_key(key: Key) -> dict[str, object]:
    """A key as an operator sees it: without its hash."""
    values = asdict(key)
    del values["key_hash"]
    return values


def check_app_key(apps: InstalledApps, app_id: str, text: str) -> None:
    """Return if `text` is a key of this app. Compared in constant time. Raises `NotAuthenticated`.

    An unknown app gets the same message, so that the answer does not reveal which apps exist.
    """
    presented = key_hash(text)
    matched = False
    for each in apps.key_hashes.get(app_id, ()):
        matched |= secrets.compare_digest(each, presented)
    if not matched:
        raise NotAuthenticated("The app key is missing or wrong.", code="invalid_app_key")

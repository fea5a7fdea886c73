"""The keys of signed assertions, made when the first app wants them."""

from __future__ import annotations

import asyncio

from gateway.access.assertion import Signer, assertion_keys
from gateway.catalog.model import Catalog
from gateway.settings import Settings


class AssertionKeys:
    """While no app has asked for assertions nothing is derived from ADMIN_TOKEN, and nothing of it shown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.signer: Signer | None = None

    async def prepare(self, catalog: Catalog) -> None:
        """Make `signer` if one of these apps wants assertions."""
        if self.signer is None and any(app.assertion for app in catalog.apps.values()):
            keys = await asyncio.to_thread(assertion_keys, self._settings.admin_token)
            self.signer = Signer(self._settings.public_url, keys)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public halves."""
        return self.signer.jwks if self.signer is not None else {"keys": []}

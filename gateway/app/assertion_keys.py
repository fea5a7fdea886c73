"""The keys of signed assertions, derived when an app first uses them."""

from __future__ import annotations

import asyncio

from gateway.access.assertion import Signer, assertion_keys
from gateway.catalog.model import Catalog
from gateway.settings import GateSettings


class AssertionKeys:
    """While no app uses assertions, no key is derived from ADMIN_TOKEN and none is published."""

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self.signer: Signer | None = None

    async def prepare(self, catalog: Catalog) -> None:
        """Create `signer` if one of these apps uses assertions."""
        if self.signer is None and any(app.assertion for app in catalog.apps.values()):
            keys = await asyncio.to_thread(assertion_keys, self._settings.admin_token)
            self.signer = Signer(self._settings.public_url, keys)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys."""
        return self.signer.jwks if self.signer is not None else {"keys": []}

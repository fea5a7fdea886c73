"""What the gate can work out once per reload rather than once per request."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.access.app_access import AppAccess
from gateway.access.assertion import Signer
from gateway.access.hosts import host_name
from gateway.access.paths import Path, read_path
from gateway.access.tags import tier_block
from gateway.catalog.model import App
from gateway.gate.answers import OK_START
from gateway.gate.assertions import Assertions
from gateway.gate.cors import cors_lines_by_origin
from gateway.metrics import Metric, Value


class PreparedApp:
    """One app: the head of the 200 of each tier, counters at hand, hosts as bytes."""

    def __init__(self, access: AppAccess, requests: Metric[Value], signer: Signer | None = None) -> None:
        self.access = access
        self.app = access.app
        self.app_id = access.app.app_id
        self.requests = requests
        self.assertions = _assertions(self.app, signer)
        self._hosts = frozenset(self.app.hosts)
        self.host_bytes = frozenset(host.encode("ascii") for host in self.app.hosts)
        self._sign_in = _own_page(self.app.sign_in_url, self._hosts)
        # tier_id -> the answer up to X-SK-User, and the two counters of a request that passes.
        self.tiers = {
            tier.tier_id: (
                OK_START + tier_block(self.app_id, tier),
                requests.of(self.app_id, tier.tier_id, "allowed"),
                requests.of(self.app_id, tier.tier_id, "anonymous"),
            )
            for tier in self.app.tiers
        }

        # The same by any tier id that may stand in the table: for anybody known, where no rule asks for more.
        self.passes = {tier_id: (*self.tiers[tier.tier_id][:2], tier) for tier_id, tier in access.policy.tiers.items()}
        self.default_tier_response = self.passes[self.app.default_tier.tier_id]
        self.paid_path_prefixes = access.policy.paid_path_prefixes
        self.cors = cors_lines_by_origin(self.app.cors)

    def has_host(self, host: bytes) -> bool:
        """The host of a request, in any spelling that Traefik would route here."""
        return host_name(host.decode("latin-1")) in self._hosts

    def is_sign_in_page(self, path: Path) -> bool:
        """Sending somebody from the sign-in page to the sign-in page would never end."""
        return self._sign_in is not None and path.literal == self._sign_in

    def count(self, outcome: str, tier_id: str = "") -> None:
        """One more request that did not simply pass."""
        self.requests.of(self.app_id, tier_id, outcome).value += 1


def _assertions(app: App, signer: Signer | None) -> Assertions | None:
    if not app.assertion:
        return None
    if signer is None:
        raise ValueError(f"app {app.app_id}: there is nothing to sign its assertions with")
    return Assertions(signer, app.app_id)


def _own_page(url: str | None, hosts: frozenset[str]) -> str | None:
    """The path of a page that is on one of these hosts, None if it is elsewhere."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.hostname is not None and parts.hostname not in hosts:
        return None
    return read_path(parts.path or "/").literal

"""What the gate computes once per reload instead of once per request."""

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
    """One app: the head of each tier's 200, its counters, its hosts as bytes."""

    def __init__(self, access: AppAccess, requests: Metric[Value], signer: Signer | None = None) -> None:
        self.access = access
        self.app = access.app
        self.app_id = access.app.app_id
        self._requests = requests
        self.assertions = _assertions(self.app, signer)
        self._hosts = frozenset(self.app.hosts)
        self.host_bytes = frozenset(host.encode("ascii") for host in self.app.hosts)
        self._sign_in = _own_page(self.app.sign_in_url, self._hosts)
        # tier_id -> the 200 up to X-SK-User, and the counters of requests that pass with a user and without.
        self.tiers = {
            tier.tier_id: (
                OK_START + tier_block(self.app_id, tier),
                self.counter("allowed", tier.tier_id),
                self.counter("anonymous", tier.tier_id),
            )
            for tier in self.app.tiers
        }
        self.paid_path_prefixes = access.policy.paid_path_prefixes
        self.cors = cors_lines_by_origin(self.app.cors)

    def has_host(self, host: bytes) -> bool:
        """The host of a request, in any spelling that Traefik would route here."""
        return host_name(host.decode("latin-1")) in self._hosts

    def is_sign_in_page(self, path: Path) -> bool:
        """A redirect from the sign-in page to itself would never end."""
        return self._sign_in is not None and path.literal == self._sign_in

    def counter(self, outcome: str, tier_id: str = "") -> Value:
        """The counter of the requests with this outcome."""
        return self._requests.of(self.app_id, tier_id, outcome)

    def count(self, outcome: str, tier_id: str = "") -> None:
        """One more request with this outcome."""
        self.counter(outcome, tier_id).value += 1


def _assertions(app: App, signer: Signer | None) -> Assertions | None:
    if not app.assertion:
        return None
    if signer is None:
        raise ValueError(f"app {app.app_id}: assertions need a signer")
    return Assertions(signer, app.app_id)


def _own_page(url: str | None, hosts: frozenset[str]) -> str | None:
    """The path of a page on one of these hosts, None for a page elsewhere."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.hostname is not None and parts.hostname not in hosts:
        return None
    return read_path(parts.path or "/").literal

"""Gauges of the gate's memory: the tier table and the credential caches (T36)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.access.app_access import AppAccess
from gateway.access.table import TierTable
from gateway.metrics import Registry


class MemoryGauges:
    """Gauges of each app, computed when /metrics is requested."""

    def __init__(self, registry: Registry, table: TierTable) -> None:
        self._table = table
        self._apps: Mapping[str, AppAccess] = {}
        label = ("app",)
        self._users = registry.gauge("skpay_tier_table_users", "Users in the tier table.", label)
        self._table_bytes = registry.gauge(
            "skpay_tier_table_bytes", "Approximate memory of the tier table in bytes.", label
        )
        self._tokens = registry.gauge("skpay_cached_credentials", "Verified credentials in the gate's caches.", label)
        self._token_bytes = registry.gauge(
            "skpay_cached_credentials_bytes", "Approximate memory of those caches in bytes.", label
        )
        registry.before_render(self._read)

    def watch(self, apps: Mapping[str, AppAccess]) -> None:
        """Report these apps; remove the gauges of all others."""
        for app_id in self._apps.keys() - apps.keys():
            for gauge in (self._users, self._table_bytes, self._tokens, self._token_bytes):
                gauge.forget(app_id)
        self._apps = dict(apps)

    def _read(self) -> None:
        for app_id, access in self._apps.items():
            self._users.of(app_id).value = self._table.count(app_id)
            self._table_bytes.of(app_id).value = self._table.bytes_used(app_id)
            self._tokens.of(app_id).value = sum(map(len, access.identity.credential_caches))
            self._token_bytes.of(app_id).value = sum(
                memory.bytes_used() for memory in access.identity.credential_caches
            )

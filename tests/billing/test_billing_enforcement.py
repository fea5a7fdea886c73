"""Limits that LiteLLM does not enforce are an alert, found by a call that costs nothing."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest
from servers.harness import Harness

from gateway.billing.provision import enforcement
from gateway.billing.provision.enforcement import check_and_alert, check_enforcement
from gateway.catalog.secret_ref import SecretRef
from gateway.sandbox.litellm import Fault
from gateway.settings import Secret
from gateway.store import alerts

KEY = SecretRef("env", "SKAI_LITELLM_KEY")


def _set_shared_key(harness: Harness, key: SecretRef | None) -> None:
    """The shared key of the first app; the others have no litellm limits."""
    catalog = harness.billing.apps.catalog
    app = catalog.apps["skai"]
    assert app.litellm is not None
    changed = dataclasses.replace(app, litellm=dataclasses.replace(app.litellm, shared_key=key))
    others = {app_id: dataclasses.replace(each, litellm=None) for app_id, each in catalog.apps.items()}
    harness.billing.apps.catalog = dataclasses.replace(catalog, apps=MappingProxyType({**others, "skai": changed}))


@pytest.fixture(autouse=True)
def _shared_key(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcement, "RECHECK_SECONDS", 0.0)
    _set_shared_key(harness, KEY)
    harness.billing.apps.secrets = {KEY: (Secret(harness.litellm.state.master_key),)}


async def _open(harness: Harness) -> list[str]:
    return [each.subject for each in await harness.store.read(alerts.live) if each.kind == "limits_not_enforced"]


async def test_enforced_limits_open_no_alert_and_provision_no_user(harness: Harness) -> None:
    assert await check_and_alert(harness.billing)
    assert await _open(harness) == []
    assert set(harness.litellm.state.customers) == {"skpay-doctor-skai"}
    assert harness.litellm.state.customers["skpay-doctor-skai"].spend == 0


async def test_a_mapping_that_was_removed_is_alerted_and_over_when_it_is_back(harness: Harness) -> None:
    harness.litellm.state.header_role = "internal_user"
    assert not await check_and_alert(harness.billing)
    assert await _open(harness) == ["skai"]
    harness.litellm.state.header_role = "customer"
    assert await check_and_alert(harness.billing)
    assert await _open(harness) == []


async def test_an_outage_proves_nothing_and_neither_opens_nor_ends_an_alert(harness: Harness) -> None:
    harness.litellm.state.header_role = "internal_user"
    await check_and_alert(harness.billing)
    harness.litellm.faults.add(Fault("status", path="/v1/chat/completions", status=503, message="no"))
    assert not await check_and_alert(harness.billing)
    assert await _open(harness) == ["skai"]


async def test_a_customer_that_litellm_knows_with_a_delay_is_no_alert(harness: Harness) -> None:
    """Another worker of LiteLLM's may let the first call pass."""
    harness.litellm.faults.add(Fault("status", path="/v1/chat/completions", status=400, message="not known yet"))
    assert await check_and_alert(harness.billing)
    assert await _open(harness) == []


async def test_an_app_without_a_shared_key_has_its_verdict_and_no_call(harness: Harness) -> None:
    _set_shared_key(harness, None)
    (verdict,) = await check_enforcement(harness.billing)
    assert (verdict.app_id, verdict.state) == ("skai", "no_key")
    assert harness.litellm.requests == []

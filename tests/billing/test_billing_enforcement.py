"""Limits that LiteLLM does not enforce are an alert, found by a call that costs nothing."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest
from servers.world import World

from gateway.billing import enforcement
from gateway.billing.enforcement import check_and_alert, check_enforcement
from gateway.catalog.model import SecretRef
from gateway.sandbox.litellm import Fault
from gateway.settings import Secret
from gateway.store import alerts

KEY = SecretRef("env", "SKAI_LITELLM_KEY")


def _set_shared_key(world: World, key: SecretRef | None) -> None:
    """The shared key of the first app; the others have no litellm limits."""
    catalog = world.billing.catalog
    app = catalog.apps["skai"]
    assert app.litellm is not None
    changed = dataclasses.replace(app, litellm=dataclasses.replace(app.litellm, shared_key=key))
    others = {app_id: dataclasses.replace(each, litellm=None) for app_id, each in catalog.apps.items()}
    world.billing.catalog = dataclasses.replace(catalog, apps=MappingProxyType({**others, "skai": changed}))


@pytest.fixture(autouse=True)
def _shared_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcement, "RECHECK_SECONDS", 0.0)
    _set_shared_key(world, KEY)
    world.billing.catalog_secrets = {KEY: (Secret(world.litellm.state.master_key),)}


async def _open(world: World) -> list[str]:
    return [each.subject for each in await world.store.read(alerts.live) if each.kind == "limits_not_enforced"]


async def test_limits_that_are_enforced_raise_nothing_and_nobody_is_provisioned_for_it(world: World) -> None:
    assert await check_and_alert(world.billing)
    assert await _open(world) == []
    assert set(world.litellm.state.customers) == {"skpay-doctor-skai"}
    assert world.litellm.state.customers["skpay-doctor-skai"].spend == 0


async def test_a_mapping_that_was_removed_is_alerted_and_over_when_it_is_back(world: World) -> None:
    world.litellm.state.header_role = "internal_user"
    assert not await check_and_alert(world.billing)
    assert await _open(world) == ["skai"]
    world.litellm.state.header_role = "customer"
    assert await check_and_alert(world.billing)
    assert await _open(world) == []


async def test_an_outage_proves_nothing_and_neither_opens_nor_ends_an_alert(world: World) -> None:
    world.litellm.state.header_role = "internal_user"
    await check_and_alert(world.billing)
    world.litellm.faults.add(Fault("status", path="/v1/chat/completions", status=503, message="no"))
    assert not await check_and_alert(world.billing)
    assert await _open(world) == ["skai"]


async def test_a_customer_that_litellm_learns_of_late_is_no_alert(world: World) -> None:
    """Another worker of LiteLLM's may let the first call pass."""
    world.litellm.faults.add(Fault("status", path="/v1/chat/completions", status=400, message="not known yet"))
    assert await check_and_alert(world.billing)
    assert await _open(world) == []


async def test_an_app_without_a_shared_key_has_its_verdict_and_no_call(world: World) -> None:
    _set_shared_key(world, None)
    (verdict,) = await check_enforcement(world.billing)
    assert (verdict.app_id, verdict.state) == ("skai", "no_key")
    assert world.litellm.requests == []

"""One suite against the sandbox and against the real LiteLLM: what holds for one must hold for the other."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from servers.traefik import until
from yarl import URL

from gateway.catalog.model import Limits
from gateway.errors import UpstreamFailed
from gateway.litellm import KeyHolder, LiteLLM
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.settings import Secret

SANDBOX_KEY = "sk-master-of-the-sandbox-77aa"
FREE = Limits(max_budget_usd=1, tpm_limit=100_000, rpm_limit=2, models=("gpt-small",))
PRO = Limits(max_budget_usd=10, tpm_limit=500_000, rpm_limit=60)
SOVEREIGN = Limits()
ROUTES = [
    "/user/update", "/user/info", "/v2/user/info", "/customer/new", "/customer/update", "/customer/info",
    "/customer/list",
    "/budget/new", "/budget/update", "/budget/info", "/key/info",
]  # fmt: skip


@dataclass
class Proxy:
    """A LiteLLM, real or not, with its master key; `mark` makes ids that no other test uses."""

    url: str
    master_key: str
    session: aiohttp.ClientSession
    mark: str

    @property
    def litellm(self) -> LiteLLM:
        return LiteLLM(self.session, self.url, (Secret(self.master_key),))

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        sent = {"Authorization": f"Bearer {key or self.master_key}", **(headers or {})}
        json = {} if body is None else {"json": body}
        async with self.session.request(method, URL(self.url + path, encoded=True), headers=sent, **json) as response:  # type: ignore[arg-type]  # JSON
            return response.status, await response.json()

    async def chat(self, user_id: str, model: str = "gpt-small", *, key: str | None = None) -> tuple[int, str]:
        """Status and error type of a call through a shared key (the master key), as Open WebUI makes it."""
        return await self._chat(model, key=key, headers={"X-OpenWebUI-User-Id": user_id})

    async def own_chat(self, key: str, model: str = "gpt-small") -> tuple[int, str]:
        """Status and error type of a call with a user's own virtual key."""
        return await self._chat(model, key=key)

    async def _chat(self, model: str, **more: Any) -> tuple[int, str]:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        status, answer = await self.call("POST", "/v1/chat/completions", body, **more)
        return status, "" if status == 200 else answer["error"]["type"]

    async def key_of(self, user_id: str, **more: object) -> str:
        _, answer = await self.call("POST", "/key/generate", {"user_id": user_id, **more})
        return str(answer["key"])


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.needs_litellm)])
async def proxy(
    request: pytest.FixtureRequest, aiohttp_server: Any, session: aiohttp.ClientSession
) -> AsyncIterator[Proxy]:
    mark = uuid.uuid4().hex[:8]
    if request.param == "real":
        real = request.getfixturevalue("real_litellm")
        yield Proxy(real.url, real.master_key, session, mark)
        return
    server = await aiohttp_server(LiteLLMSandbox(SANDBOX_KEY).application())
    yield Proxy(str(server.make_url("")).rstrip("/"), SANDBOX_KEY, session, mark)


async def test_it_is_ready(proxy: Proxy) -> None:
    await proxy.litellm.ping()


async def test_an_unknown_user_is_upserted(proxy: Proxy) -> None:
    done = await proxy.litellm.provision_internal_user(f"u-{proxy.mark}", FREE, previous_budget_duration=None)
    assert done.matches
    assert done.answer["budget_reset_at"]
    status, row = await proxy.call("GET", f"/v2/user/info?user_id=u-{proxy.mark}")
    assert (status, row["rpm_limit"]) == (200, 2)


async def test_a_free_user_with_a_key_is_limited_and_a_pro_user_is_not(proxy: Proxy) -> None:
    user_id = f"u-{proxy.mark}"
    await proxy.litellm.provision_internal_user(user_id, FREE, previous_budget_duration=None)
    key = await proxy.key_of(user_id)
    assert await proxy.own_chat(key) == (200, "")
    assert await proxy.own_chat(key, "gpt-big") == (403, "user_model_access_denied")
    assert await proxy.own_chat(key) == (200, "")
    assert await proxy.own_chat(key) == (429, "throttling_error")
    await proxy.litellm.provision_internal_user(user_id, PRO, previous_budget_duration="1d")
    assert await proxy.own_chat(key) == (200, "")
    assert await proxy.own_chat(key, "gpt-big") == (200, "")
    await proxy.litellm.provision_internal_user(user_id, FREE, previous_budget_duration="1d")
    assert await proxy.own_chat(key) == (429, "throttling_error")
    assert await proxy.own_chat(key, "gpt-big") == (403, "user_model_access_denied")


async def test_a_free_customer_is_limited_and_a_pro_customer_is_not(proxy: Proxy) -> None:
    customer, free, pro = f"c-{proxy.mark}", f"free-{proxy.mark}", f"pro-{proxy.mark}"
    await proxy.litellm.provision_customer(customer, free, FREE)
    assert await proxy.chat(customer) == (200, "")
    assert await proxy.chat(customer, "gpt-big") == (403, "customer_model_access_denied")
    assert await proxy.chat(customer) == (200, "")
    assert await proxy.chat(customer) == (429, "throttling_error")
    await proxy.litellm.provision_customer(customer, pro, PRO)
    assert await proxy.chat(customer) == (200, "")
    assert await proxy.chat(customer, "gpt-big") == (200, "")
    await proxy.litellm.provision_customer(customer, free, FREE)
    assert await proxy.chat(customer) == (429, "throttling_error")
    assert await proxy.chat(customer, "gpt-big") == (403, "customer_model_access_denied")


async def test_a_customer_that_was_unlimited_until_now_is_limited_at_once(proxy: Proxy) -> None:
    """T3: until somebody tells LiteLLM, a customer may do anything; from then on the next call obeys."""
    customer = f"c-{proxy.mark}"
    assert await proxy.chat(customer, "gpt-big") == (200, "")
    assert (await proxy.litellm.provision_customer(customer, f"free-{proxy.mark}", FREE)).matches
    assert await proxy.chat(customer, "gpt-big") == (403, "customer_model_access_denied")


async def test_limits_are_lifted_and_come_back(proxy: Proxy) -> None:
    user_id, budget_id = f"u-{proxy.mark}", f"tier-{proxy.mark}"
    for limits in (FREE, SOVEREIGN, FREE):
        user = await proxy.litellm.provision_internal_user(user_id, limits, previous_budget_duration=None)
        customer = await proxy.litellm.provision_customer(user_id, budget_id, limits)
        assert user.differences == customer.differences == ()
    key = await proxy.key_of(user_id)
    assert await proxy.own_chat(key, "gpt-big") == (403, "user_model_access_denied")
    assert await proxy.chat(user_id, "gpt-big") == (403, "customer_model_access_denied")


async def test_a_spent_budget_blocks_and_an_upgrade_lifts_it_at_once(proxy: Proxy) -> None:
    customer, tiny = f"c-{proxy.mark}", f"tiny-{proxy.mark}"
    await proxy.litellm.provision_customer(customer, tiny, Limits(max_budget_usd=0.00000001))
    assert await proxy.chat(customer) == (200, "")
    await until(lambda: _blocked(proxy, customer), "the first call is charged, which is done after its answer")
    await proxy.litellm.provision_customer(customer, f"pro-{proxy.mark}", PRO)
    assert await proxy.chat(customer) == (200, "")


async def test_a_changed_budget_reaches_the_customers_that_are_written_to(proxy: Proxy) -> None:
    budget_id, names = f"tier-{proxy.mark}", (f"a-{proxy.mark}", f"b-{proxy.mark}")
    for name in names:
        await proxy.litellm.provision_customer(name, budget_id, PRO)
        assert await proxy.chat(name) == (200, "")
    done = await proxy.litellm.provision_customer(names[0], budget_id, Limits(max_budget_usd=10, rpm_limit=1))
    assert done.budget_changed
    assert await proxy.chat(names[0]) == (429, "throttling_error")
    assert await proxy.chat(names[1]) == (200, "")
    await proxy.litellm.provision_customer(names[1], budget_id, Limits(max_budget_usd=10, rpm_limit=1))
    assert await proxy.chat(names[1]) == (429, "throttling_error")


async def test_metadata_is_laid_over_what_is_there(proxy: Proxy) -> None:
    user_id = f"u-{proxy.mark}"
    await proxy.call("POST", "/user/update", {"user_id": user_id, "metadata": {"department": "ops", "tier": "free"}})
    await proxy.litellm.provision_internal_user(user_id, PRO, previous_budget_duration="1d", metadata={"tier": "pro"})
    _, row = await proxy.call("GET", f"/v2/user/info?user_id={user_id}")
    assert row["metadata"] == {"department": "ops", "tier": "pro"}


async def test_a_key_that_may_do_only_this_is_enough(proxy: Proxy) -> None:
    service = f"svc-{proxy.mark}"
    await proxy.call("POST", "/user/new", {"user_id": service, "user_role": "proxy_admin", "auto_create_key": False})
    key = await proxy.key_of(service, allowed_routes=ROUTES)
    litellm = LiteLLM(proxy.session, proxy.url, (Secret(key),))
    done = await litellm.provision_internal_user(f"u-{proxy.mark}", PRO, previous_budget_duration=None)
    assert done.matches
    assert (await litellm.provision_customer(f"c-{proxy.mark}", f"tier-{proxy.mark}", FREE)).matches
    assert (await litellm.provision_customer(f"c-{proxy.mark}", f"tier-{proxy.mark}", PRO)).matches
    assert await litellm.compare_internal_user(f"u-{proxy.mark}", PRO) is not None
    assert await litellm.compare_customer(f"c-{proxy.mark}", f"tier-{proxy.mark}", PRO) is not None
    status, _ = await proxy.call("POST", "/key/generate", {}, key=key)
    assert status == 403


async def test_what_a_key_may_not_is_found_out_without_a_write(proxy: Proxy) -> None:
    service, gone = f"svc-{proxy.mark}", ("/budget/new", "/customer/list", "/customer/update", "/user/info")
    await proxy.call("POST", "/user/new", {"user_id": service, "user_role": "proxy_admin", "auto_create_key": False})
    all_of_them = [*ROUTES, "/user/delete", "/customer/delete"]
    _, before = await proxy.call("GET", "/budget/list")
    for left_out in (all_of_them, gone, ()):
        allowed = [route for route in all_of_them if route not in left_out] or ["/models"]
        key = await proxy.key_of(service, allowed_routes=allowed)
        denied = await LiteLLM(proxy.session, proxy.url, (Secret(key),)).denied_routes()
        assert sorted(denied) == sorted(left_out)
    assert await proxy.litellm.denied_routes() == ()
    assert (await proxy.call("GET", "/budget/list"))[1] == before
    for path in ("/v2/user/info?user_id=", "/customer/info?end_user_id="):
        assert (await proxy.call("GET", f"{path}skpayments-doctor"))[0] == 404


async def test_current_values_are_compared_without_a_write(proxy: Proxy) -> None:
    litellm, budget = proxy.litellm, f"pro-{proxy.mark}"
    for limits in (PRO, FREE, SOVEREIGN):
        user, customer, own = (f"{kind}-{proxy.mark}-{limits.rpm_limit}" for kind in ("u", "c", "b"))
        await litellm.provision_internal_user(user, limits, previous_budget_duration=None)
        await litellm.provision_customer(customer, own, limits)
        for stored in (
            await litellm.compare_internal_user(user, limits),
            await litellm.compare_customer(customer, own, limits),
        ):
            assert stored is not None
            assert (stored.differences, stored.allows_less, stored.allows_more) == ((), False, False)
    await litellm.provision_customer(f"c-{proxy.mark}", budget, PRO)
    await litellm.provision_internal_user(f"u-{proxy.mark}", PRO, previous_budget_duration=None)
    for expected_limits, less, more in ((FREE, False, True), (SOVEREIGN, True, False)):
        for stored in (
            await litellm.compare_internal_user(f"u-{proxy.mark}", expected_limits),
            await litellm.compare_customer(f"c-{proxy.mark}", budget, expected_limits),
        ):
            assert stored is not None
            assert (stored.allows_less, stored.allows_more) == (less, more), stored


async def test_an_unknown_user_has_no_current_values(proxy: Proxy) -> None:
    assert await proxy.litellm.compare_internal_user(f"nobody-{proxy.mark}", PRO) is None
    assert await proxy.litellm.compare_customer(f"nobody-{proxy.mark}", f"pro-{proxy.mark}", PRO) is None


async def test_a_users_own_key_may_not_raise_its_limits(proxy: Proxy) -> None:
    user_id = f"u-{proxy.mark}"
    await proxy.litellm.provision_internal_user(user_id, FREE, previous_budget_duration=None)
    litellm = LiteLLM(proxy.session, proxy.url, (Secret(await proxy.key_of(user_id)),))
    with pytest.raises(UpstreamFailed) as caught:
        await litellm.provision_internal_user(user_id, PRO, previous_budget_duration="1d")
    assert (caught.value.status, caught.value.retryable) == (401, False)


async def test_an_invalid_duration_is_refused_for_good(proxy: Proxy) -> None:
    bad = Limits(max_budget_usd=1, budget_duration="1 day")
    for call in (
        proxy.litellm.provision_internal_user(f"u-{proxy.mark}", bad, previous_budget_duration=None),
        proxy.litellm.provision_customer(f"c-{proxy.mark}", f"tier-{proxy.mark}", bad),
    ):
        with pytest.raises(UpstreamFailed) as caught:
            await call
        assert (caught.value.status, caught.value.retryable) == (400, False)


@pytest.mark.parametrize("user_id", ["a/b?c=d&e=f#g", "ünï 名前", "50%+1", "'; drop table x; --", "a.b@c.example"])
async def test_any_id_arrives_unchanged(proxy: Proxy, user_id: str) -> None:
    user_id += proxy.mark
    user = await proxy.litellm.provision_internal_user(user_id, PRO, previous_budget_duration=None)
    assert user == await proxy.litellm.provision_internal_user(user_id, PRO, previous_budget_duration=None)
    assert (await proxy.litellm.provision_customer(user_id, f"tier-{proxy.mark}", PRO)).matches
    for path in ("/v2/user/info?user_id=", "/customer/info?end_user_id="):
        status, row = await proxy.call("GET", path + quote(user_id, safe=""))
        assert (status, row["user_id"]) == (200, user_id)


async def test_t3_the_shared_keys_own_budget_limits_customers_that_were_never_provisioned(proxy: Proxy) -> None:
    customer, net = f"c-{proxy.mark}", f"net-{proxy.mark}"
    await proxy.call("POST", "/budget/new", {"budget_id": net, "rpm_limit": 1})
    key = await proxy.key_of(f"shared-{proxy.mark}", end_user_budget_id=net)
    assert await proxy.chat(customer, key=key) == (200, "")
    assert await proxy.chat(customer, key=key) == (429, "throttling_error")
    await proxy.litellm.provision_customer(customer, f"pro-{proxy.mark}", PRO)
    assert await proxy.chat(customer, key=key) == (200, "")


async def _blocked(proxy: Proxy, customer: str) -> bool:
    return await proxy.chat(customer) == (422, "budget_exceeded")


async def test_deletion_is_idempotent(proxy: Proxy) -> None:
    customer, user = f"{proxy.mark}-gone", f"{proxy.mark}-gone-too"
    await proxy.litellm.provision_customer(customer, f"{proxy.mark}-budget", FREE)
    await proxy.litellm.provision_internal_user(user, FREE)
    assert (await proxy.call("GET", f"/customer/info?end_user_id={customer}"))[0] == 200
    for _ in range(2):
        await proxy.litellm.delete_user("customer", customer)
        await proxy.litellm.delete_user("internal_user", user)
    assert (await proxy.call("GET", f"/customer/info?end_user_id={customer}"))[0] == 404
    assert (await proxy.call("GET", f"/v2/user/info?user_id={user}"))[0] == 404


async def test_only_customers_with_spend_are_listed(proxy: Proxy) -> None:
    quiet, spender = f"quiet-{proxy.mark}", f"spender-{proxy.mark}"
    for customer in (quiet, spender):
        await proxy.litellm.provision_customer(customer, f"b-{proxy.mark}", PRO)
    assert (await proxy.chat(spender))[0] == 200

    async def listed() -> bool:  # spend lands in LiteLLM's database in batches
        return spender in await proxy.litellm.spending_customers()

    await until(listed, "the spend is counted")
    assert quiet not in await proxy.litellm.spending_customers()


async def test_a_virtual_key_is_known_by_its_hash_for_as_long_as_it_works(proxy: Proxy) -> None:
    user_id = f"u-{proxy.mark}"
    key, other = await proxy.key_of(user_id), await proxy.key_of(user_id)
    assert await proxy.litellm.key_holder(_hash(key)) == KeyHolder(user_id, None)
    await proxy.call("POST", "/key/block", {"key": key})
    assert await proxy.litellm.key_holder(_hash(key)) is None
    await proxy.call("POST", "/key/delete", {"keys": [other]})
    status, row = await proxy.call("GET", f"/key/info?key={_hash(other)}")
    assert (status, row["info"]["status"]) == (200, "deleted")  # out of LiteLLM's archive
    assert await proxy.litellm.key_holder(_hash(other)) is None


async def test_a_key_that_expires_has_its_time(proxy: Proxy) -> None:
    key = await proxy.key_of(f"u-{proxy.mark}", duration="1h")
    found = await proxy.litellm.key_holder(_hash(key))
    assert found is not None
    assert found.expires_at is not None
    assert abs(found.expires_at - time.time() - 3600) < 60


async def test_keys_without_owner_and_unknown_keys_have_no_owner(proxy: Proxy) -> None:
    _, answer = await proxy.call("POST", "/key/generate", {})
    assert await proxy.litellm.key_holder(_hash(answer["key"])) is None
    assert await proxy.litellm.key_holder(_hash("sk-" + proxy.mark)) is None
    assert await proxy.litellm.key_holder(_hash(proxy.master_key)) is None


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


NOTHING = [Limits(max_budget_usd=0), Limits(rpm_limit=0), Limits(max_budget_usd=5, tpm_limit=0, rpm_limit=60)]


@pytest.mark.parametrize("limits", NOTHING, ids=["budget", "requests", "tokens"])
@pytest.mark.parametrize("model", ["gpt-small", "gpt-free"])
@pytest.mark.parametrize("mode", ["customer", "internal_user"])
async def test_a_limit_of_zero_refuses_every_one_of_thirty_parallel_calls(
    proxy: Proxy, mode: str, model: str, limits: Limits
) -> None:
    user_id, key = f"z-{proxy.mark}", None
    if mode == "customer":
        assert (await proxy.litellm.provision_customer(user_id, f"zero-{proxy.mark}", limits)).matches
        stored = await proxy.litellm.compare_customer(user_id, f"zero-{proxy.mark}", limits)
    else:
        assert (await proxy.litellm.provision_internal_user(user_id, limits)).matches
        stored = await proxy.litellm.compare_internal_user(user_id, limits)
        key = await proxy.key_of(user_id)
    assert stored is not None
    assert stored.differences == ()  # what is written in the place of 0 is no drift
    calls = (proxy.own_chat(key, model) if key else proxy.chat(user_id, model) for _ in range(30))
    assert {status for status, _ in await asyncio.gather(*calls)} <= {422, 429}


@pytest.mark.parametrize("mode", ["customer", "internal_user"])
async def test_a_budget_of_zero_alone_is_drift_and_stops_no_call_of_a_free_model(proxy: Proxy, mode: str) -> None:
    """Why more than the budget is written: what somebody else wrote as 0 is found, and allows more than it should."""
    user_id, key, zero = f"z-{proxy.mark}", None, Limits(max_budget_usd=0)
    if mode == "customer":
        await proxy.call(
            "POST", "/budget/new", {"budget_id": f"b-{proxy.mark}", "max_budget": 0, "budget_duration": "1d"}
        )
        await proxy.call("POST", "/customer/new", {"user_id": user_id, "budget_id": f"b-{proxy.mark}"})
        stored = await proxy.litellm.compare_customer(user_id, f"b-{proxy.mark}", zero)
        assert await proxy.chat(user_id) == (200, "")
    else:
        await proxy.call("POST", "/user/update", {"user_id": user_id, "max_budget": 0, "budget_duration": "1d"})
        stored = await proxy.litellm.compare_internal_user(user_id, zero)
        key = await proxy.key_of(user_id)
        assert await proxy.own_chat(key) == (422, "budget_exceeded")
    assert stored is not None
    assert stored.allows_more
    assert (await proxy.own_chat(key, "gpt-free") if key else await proxy.chat(user_id, "gpt-free")) == (200, "")


@pytest.mark.parametrize("name", ["Ada Lovelace", "a+b c%20d", "x?user_id=y&z#w/..", "N\u00e9e \u540d"])
async def test_every_question_finds_an_id_with_characters_that_urls_give_a_meaning(proxy: Proxy, name: str) -> None:
    user_id = f"{name} {proxy.mark}"
    await proxy.call("POST", "/user/update", {"user_id": user_id, "metadata": {"department": "ops"}})
    done = await proxy.litellm.provision_internal_user(user_id, PRO, metadata={"tier": "pro"})
    assert done.matches
    stored = await proxy.litellm.compare_internal_user(user_id, PRO)
    assert stored is not None
    assert stored.differences == ()
    _, row = await proxy.call("GET", f"/v2/user/info?user_id={quote(user_id, safe='')}")
    assert row["metadata"] == {"department": "ops", "tier": "pro"}
    await proxy.litellm.provision_customer(user_id, f"id-{proxy.mark}", PRO)
    assert await proxy.litellm.compare_customer(user_id, f"id-{proxy.mark}", PRO) is not None


async def test_a_plus_sign_in_the_query_is_a_plus_sign_for_internal_users(proxy: Proxy) -> None:
    await proxy.call("POST", "/user/update", {"user_id": f"Ada {proxy.mark}"})
    for path in ("/user/info", "/v2/user/info"):
        assert (await proxy.call("GET", f"{path}?user_id=Ada+{proxy.mark}"))[0] == 404
        assert (await proxy.call("GET", f"{path}?user_id=Ada%20{proxy.mark}"))[0] == 200


HEADER = "X-OpenWebUI-User-Id"


async def _shared_key(proxy: Proxy, **more: object) -> tuple[Secret, ...]:
    _, answer = await proxy.call("POST", "/key/generate", more)
    return (Secret(str(answer["key"])),)


async def test_enforcement_is_proved_by_a_call_that_reaches_no_model(proxy: Proxy) -> None:
    keys = await _shared_key(proxy)
    proof = await proxy.litellm.prove_enforcement(proxy.mark, "customer", keys, HEADER)
    assert proof.state == "enforced", proof
    _, row = await proxy.call("GET", f"/customer/info?end_user_id=skpay-doctor-{proxy.mark}")
    assert row["spend"] == 0
    # A second time nothing is new to LiteLLM.
    assert (await proxy.litellm.prove_enforcement(proxy.mark, "customer", keys, HEADER)).state == "enforced"


async def test_a_header_that_is_not_mapped_proves_that_limits_are_not_enforced_and_costs_nothing(proxy: Proxy) -> None:
    keys = await _shared_key(proxy)
    proof = await proxy.litellm.prove_enforcement(proxy.mark, "customer", keys, "X-Other-User-Id")
    assert proof.state == "not_enforced", proof
    assert proof.detail.startswith("400: /chat/completions: Missing required parameter"), proof
    _, row = await proxy.call("GET", f"/key/info?key={hashlib.sha256(keys[0].reveal().encode()).hexdigest()}")
    assert row["info"]["spend"] == 0


async def test_the_limits_of_internal_users_are_proved_with_a_key_of_their_own_only(proxy: Proxy) -> None:
    shared = await _shared_key(proxy)
    proof = await proxy.litellm.prove_enforcement(proxy.mark, "internal_user", shared, "X-Other-User-Id")
    assert proof.state == "not_enforced", proof
    own = await _shared_key(proxy, user_id=f"skpay-doctor-{proxy.mark}")
    assert (await proxy.litellm.prove_enforcement(proxy.mark, "internal_user", own, HEADER)).state == "enforced"


async def test_an_unknown_key_proves_nothing(proxy: Proxy) -> None:
    proof = await proxy.litellm.prove_enforcement(proxy.mark, "customer", (Secret("sk-of-nobody-4d1e"),), HEADER)
    assert proof.state == "unproven"
    assert "sk-of-nobody" not in proof.detail

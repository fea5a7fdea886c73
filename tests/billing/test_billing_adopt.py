"""Customers that are ours and that we do not know: by our signature (T25), or by an operator's word (T26)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from servers.harness import ADMIN_TOKEN, Harness

from gateway.billing.accounts.adopt import (
    MAX_UNKNOWN_CUSTOMERS,
    Assignment,
    adopt_assigned,
    adopt_listed,
    adopt_unknown,
)
from gateway.billing.accounts.forget import forget
from gateway.billing.accounts.signing import sign_customers
from gateway.errors import NotFound, UpstreamFailed
from gateway.settings import Secret
from gateway.store import customers, refreshes
from gateway.stripe.customers import read_customer
from gateway.stripe.ownership import signed_metadata, signed_owner, signing_keys

KEYS = signing_keys((Secret(ADMIN_TOKEN),))
NEW_KEYS = signing_keys((Secret("admin-rolled"), Secret(ADMIN_TOKEN)))


async def lose_everything(harness: Harness) -> None:
    """The database is lost; Stripe still has everything."""
    await harness.store.close()
    for path in harness.folder.glob("harness.db*"):
        path.unlink()
    await harness.open()
    harness.forget_requests()


async def made_elsewhere(harness: Harness, **params: Any) -> str:
    """A customer created outside this service, with a running subscription."""
    made = await harness.billing.stripe.transport.post("/v1/customers", params)
    harness.stripe.set_card(made["id"], "ok")
    await harness.billing.stripe.transport.post(
        "/v1/subscriptions", {"customer": made["id"], "items": [{"price": "price_pro_month"}]}
    )
    return str(made["id"])


def metadata_of(harness: Harness, customer_id: str) -> dict[str, str]:
    return dict(harness.stripe.state.find("customer", customer_id)["metadata"])


def test_a_signature_is_of_one_user_of_one_app_and_of_one_of_our_secrets() -> None:
    metadata = signed_metadata(KEYS, "skai", "u1")
    assert signed_owner(KEYS, metadata) == ("skai", "u1")
    assert signed_owner(NEW_KEYS, metadata) == ("skai", "u1")
    assert signed_owner(NEW_KEYS[:1], metadata) is None
    assert signed_owner(KEYS, {**metadata, "user_id": "u2"}) is None
    assert signed_owner(KEYS, {**metadata, "app_id": "studio"}) is None
    moved = signed_metadata(KEYS, "a", "bc")["skpay_sig"]
    assert signed_owner(KEYS, {"app_id": "ab", "user_id": "c", "skpay_sig": moved}) is None


@pytest.mark.parametrize("metadata", [None, [], {}, {"app_id": "skai", "user_id": "u1"},
                                      {"app_id": "skai", "user_id": "u1", "skpay_sig": "é"},
                                      {"app_id": 1, "user_id": "u1", "skpay_sig": "0"}])  # fmt: skip
def test_metadata_without_a_valid_signature_names_no_owner(metadata: object) -> None:
    assert signed_owner(KEYS, read_customer({"id": "cus_1", "metadata": metadata}).metadata) is None


async def test_our_customers_are_signed_when_they_are_made(harness: Harness) -> None:
    await harness.checkout("u1")
    assert signed_owner(KEYS, metadata_of(harness, await harness.customer_id("u1"))) == ("skai", "u1")


async def test_t25_a_lost_database_is_rebuilt_from_signed_customers(harness: Harness) -> None:
    await harness.subscribed("u1")
    await harness.subscribed("u2", "enterprise")
    await made_elsewhere(harness, metadata={"app_id": "skai", "user_id": "forged"})
    await lose_everything(harness)
    assert await adopt_listed(harness.billing) == 2
    await harness.settle()
    assert (await harness.tier("u1"), await harness.tier("u2"), await harness.tier("forged")) == (
        "pro",
        "enterprise",
        "free",
    )
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert await adopt_listed(harness.billing) == 0


async def test_an_event_of_an_unknown_signed_customer_adopts_it(harness: Harness) -> None:
    await harness.buy("u1")
    await lose_everything(harness)
    await harness.catch_up()
    assert await harness.tier("u1") == "pro"
    assert len(harness.requests("GET", "/v1/customers/")) == 1


async def test_an_unknown_customer_is_looked_up_once_an_hour(harness: Harness) -> None:
    foreign = await made_elsewhere(harness)
    events = harness.events()
    harness.forget_requests()
    await harness.deliver(events)
    await harness.settle()
    assert len(harness.requests("GET", f"/v1/customers/{foreign}")) == 1
    second = [{**event, "id": f"{event['id']}_2"} for event in events]
    await harness.deliver(second)
    await harness.settle()
    assert len(harness.requests("GET", f"/v1/customers/{foreign}")) == 1
    harness.move(3601)
    await harness.deliver([{**event, "id": f"{event['id']}_3"} for event in events])
    await harness.settle()
    assert len(harness.requests("GET", f"/v1/customers/{foreign}")) == 2


async def test_events_that_change_no_tier_look_up_no_customer(harness: Harness) -> None:
    foreign = await made_elsewhere(harness)
    harness.events()
    harness.forget_requests()
    await harness.post({"id": "evt_1", "object": "event", "type": "charge.succeeded", "livemode": False,
                      "data": {"object": {"id": "ch_1", "object": "charge", "customer": foreign}}})  # fmt: skip
    await harness.settle()
    assert harness.requests("GET", f"/v1/customers/{foreign}") == []


async def test_an_outage_delays_only_the_events_of_unknown_customers(harness: Harness) -> None:
    await harness.subscribed("u2")
    await harness.buy("u1")
    unheard = harness.events()
    customer_id = await harness.customer_id("u1")
    await harness.store.write(lambda conn: conn.exec_driver_sql(f"DELETE FROM customers WHERE user_id = 'u1'"))  # noqa: F541
    harness.stripe.fault("status", f"/v1/customers/{customer_id}", status=503, times=3)
    harness.stripe.cancel(harness.stripe.state.all("subscription")[0]["id"])
    await harness.deliver([*unheard, *harness.events()])
    await harness.settle()
    assert await harness.tier("u2") == "free"
    assert await harness.tier("u1") == "free"
    harness.move(60)
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_the_cache_of_unknown_customers_is_bounded(harness: Harness) -> None:
    harness.billing.account.unknown_customers.update(
        {f"cus_{number}": 2**40 for number in range(MAX_UNKNOWN_CUSTOMERS)}
    )
    assert await adopt_unknown(harness.billing, ["cus_of_nobody"]) == {}
    assert len(harness.billing.account.unknown_customers) == MAX_UNKNOWN_CUSTOMERS
    assert "cus_0" not in harness.billing.account.unknown_customers
    assert "cus_of_nobody" in harness.billing.account.unknown_customers


async def test_a_signature_for_a_removed_app_adopts_no_customer(harness: Harness) -> None:
    await made_elsewhere(harness, metadata=signed_metadata(KEYS, "gone", "u1"))
    assert await adopt_listed(harness.billing) == 0


async def test_rolling_the_token_signs_all_customers_anew_once(harness: Harness) -> None:
    await harness.subscribed("u1")
    await harness.subscribed("u2")
    customer_id = await harness.customer_id("u1")
    assert await sign_customers(harness.billing) == 2  # the first time: they may be of a version that did not sign
    harness.billing.account.signing_keys = NEW_KEYS
    assert await sign_customers(harness.billing) == 2
    assert signed_owner(NEW_KEYS[:1], metadata_of(harness, customer_id)) == ("skai", "u1")
    assert await sign_customers(harness.billing) == 0


async def test_a_customer_that_an_earlier_version_signed_is_ours_and_is_signed_anew(harness: Harness) -> None:
    await harness.subscribed("u1")
    customer_id = await harness.customer_id("u1")
    former = hmac.digest(ADMIN_TOKEN.encode(), b"skpayments customer metadata v1", hashlib.sha256)
    metadata = signed_metadata([former], "skai", "u1")
    await harness.billing.stripe.transport.post(f"/v1/customers/{customer_id}", {"metadata": metadata})
    assert signed_owner(KEYS, metadata) == ("skai", "u1")
    assert await sign_customers(harness.billing) == 1
    assert signed_owner(KEYS[:1], metadata_of(harness, customer_id)) == ("skai", "u1")


async def test_signing_goes_on_where_it_was_cut_off(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.accounts.signing._PAGE", 1)
    await harness.subscribed("u1")
    await harness.subscribed("u2")
    first, second = sorted([await harness.customer_id("u1"), await harness.customer_id("u2")])
    harness.stripe.fault("status", f"/v1/customers/{second}", "POST", status=500, times=1)
    with pytest.raises(UpstreamFailed):
        await sign_customers(harness.billing)
    harness.forget_requests()
    assert await sign_customers(harness.billing) == 1
    assert harness.requests("POST", f"/v1/customers/{first}") == []


# An operator's word.


async def judged(harness: Harness, *assignments: tuple[str, str], apply: bool = True) -> list[tuple[str, str]]:
    found = await adopt_assigned(harness.billing, "skai", [Assignment(*each) for each in assignments], apply=apply)
    assert [(each.customer_id, each.user_id) for each in found] == list(assignments)
    return [(each.state, each.why) for each in found]


async def test_t26_a_dry_run_says_what_would_be_and_changes_nothing(harness: Harness) -> None:
    customer_id = await made_elsewhere(harness, email="ada@example.com", metadata={"uid": "ada"})
    assert await judged(harness, (customer_id, "ada"), apply=False) == [("new", "")]
    assert metadata_of(harness, customer_id) == {"uid": "ada"}
    assert await harness.query(lambda conn: customers.owner(conn, customer_id)) is None
    assert await harness.query(refreshes.waiting) == {}


async def test_an_adopted_customer_is_signed_stored_and_refreshed(harness: Harness) -> None:
    customer_id = await made_elsewhere(harness, email="ada@example.com", metadata={"uid": "ada"})
    assert await judged(harness, (customer_id, "ada")) == [("new", "")]
    await harness.settle()
    assert await harness.tier("ada") == "pro"
    assert metadata_of(harness, customer_id) == {"uid": "ada", **signed_metadata(KEYS, "skai", "ada")}
    stored = await harness.query(lambda conn: customers.owner(conn, customer_id))
    assert stored is not None
    assert stored.email == "ada@example.com"


async def test_adopting_is_idempotent(harness: Harness) -> None:
    customer_id = await made_elsewhere(harness)
    await judged(harness, (customer_id, "ada"))
    await harness.settle()
    harness.forget_requests()
    assert await judged(harness, (customer_id, "ada")) == [("known", "")]
    assert harness.requests("POST", "/v1/") == []
    assert await harness.query(refreshes.waiting) == {}


async def test_a_first_try_that_was_cut_off_is_finished_by_the_second(harness: Harness) -> None:
    customer_id = await made_elsewhere(harness)
    await harness.billing.stripe.transport.post(
        f"/v1/customers/{customer_id}", {"metadata": signed_metadata(KEYS, "skai", "ada")}
    )
    assert await judged(harness, (customer_id, "ada")) == [("new", "")]
    assert await harness.query(lambda conn: customers.owner(conn, customer_id)) is not None


async def test_two_customers_may_be_one_user(harness: Harness) -> None:
    one, two = await made_elsewhere(harness), await made_elsewhere(harness)
    assert await judged(harness, (one, "ada"), (two, "ada")) == [("new", ""), ("new", "")]
    await harness.settle()
    assert {kind for kind, _ in await harness.alerts()} == {"duplicate_subscription"}


async def test_what_contradicts_is_refused_line_by_line_and_the_rest_goes_on(harness: Harness) -> None:
    await harness.subscribed("u1")
    ours = await harness.customer_id("u1")
    free = await made_elsewhere(harness)
    twice = await made_elsewhere(harness)
    theirs = await made_elsewhere(harness, metadata={"user_id": "another id"})
    gone = await made_elsewhere(harness)
    await harness.billing.stripe.transport.delete(f"/v1/customers/{gone}")
    await harness.subscribed("u9")
    forgotten = await harness.customer_id("u9")
    await forget(harness.billing, "skai", "u9")
    signed = await made_elsewhere(harness, metadata=signed_metadata(KEYS, "studio", "eve"))
    verdicts = await judged(
        harness,
        (ours, "u2"),
        (free, "ada"),
        (twice, "a"),
        (twice, "b"),
        (signed, "ada"),
        (theirs, "ada"),
        (gone, "ada"),
        ("cus_of_nobody", "ada"),
        ("../prices", "ada"),
        (free + "x", "line\nbreak"),
        (forgotten, "u9"),
    )
    assert verdicts == [
        ("refused", "is skai/u1 already"),
        ("new", ""),
        ("refused", "is assigned to two users"),
        ("refused", "is assigned to two users"),
        ("refused", "is signed as studio/eve"),
        ("refused", "its metadata has the user_id 'another id' already, which would be overwritten"),
        ("refused", "was deleted at Stripe"),
        ("refused", "Stripe has no such customer"),
        ("refused", "Stripe has no such customer"),
        ("refused", "user_id: expected 1 to 200 printable characters."),
        ("refused", "belonged to a forgotten user"),
    ]
    assert metadata_of(harness, theirs) == {"user_id": "another id"}


async def test_adoption_is_refused_for_an_unknown_app_or_the_key_of_another_account(harness: Harness) -> None:
    with pytest.raises(NotFound):
        await adopt_assigned(harness.billing, "nowhere", [Assignment("cus_1", "u1")], apply=True)
    harness.billing.account.wrong = True
    with pytest.raises(UpstreamFailed):
        await judged(harness, ("cus_1", "u1"))

"""Each kind of drift, seeded one at a time: named right, repaired through the same path, gone in the second pass."""

import sqlite3
from typing import Any

import pytest
from servers.harness import DAY, Harness
from sqlalchemy import text

from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.report import Kind, Line, Report
from gateway.billing.reconcile.state import ReconcileOptions
from gateway.billing.refresh.holdings import fetch_holdings
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.errors import NotFound, UpstreamFailed
from gateway.settings import Secret
from gateway.store import refreshes
from gateway.stripe.client import Stripe
from gateway.stripe.transport import Transport


@pytest.fixture(autouse=True)
def _at_once(harness: Harness) -> None:
    harness.billing.reconciling.pace = RateLimiter(1e9)


def dump(harness: Harness) -> list[str]:
    """Everything in the database, as SQL."""
    with sqlite3.connect(harness.folder / "harness.db") as conn:
        return list(conn.iterdump())


async def tamper(harness: Harness, sql: str, **values: Any) -> None:
    """Change our store behind our back, as a bug or a restored backup would."""
    await harness.store.write(lambda conn: conn.execute(text(sql), values))


async def dry(harness: Harness, app_id: str | None = None) -> Report:
    return await reconcile(harness.billing, ReconcileOptions(app_id))


async def applied(harness: Harness, **more: Any) -> Report:
    """Repair, and do all that follows."""
    report = await reconcile(harness.billing, ReconcileOptions(apply=True, **more))
    await harness.settle()
    return report


def kinds(report: Report) -> dict[str, Kind]:
    return {user_id: line.kind for (_, user_id), line in report.found.items()}


async def test_nothing_is_found_where_all_three_agree(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await harness.subscribed("s1", "plus", app_id="studio")
    await harness.checkout("u2")  # a customer who never bought
    report = await dry(harness)
    assert report.found == {}
    assert (report.checked.subscriptions, report.checked.customers, report.checked.litellm) == (2, 3, 2)


async def test_a_missed_purchase_is_paid_but_blocked(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await harness.buy("u2", "enterprise")
    harness.events()  # lost
    report = await dry(harness)
    assert kinds(report) == {"u2": Kind.PAID_BUT_BLOCKED}
    line = report.found["skai", "u2"]
    assert (line.stripe, line.store) == ("enterprise (active)", "nothing")
    assert line.repair.startswith("tier: free → enterprise")
    assert (await applied(harness)).applied
    assert await harness.tier("u2") == "enterprise"
    assert harness.limits("u2") == {"budget_id": "skai.enterprise", "max_budget": 50, "rpm_limit": 120}
    assert ("skai", "u2", "enterprise") in harness.gate_updates
    assert (await dry(harness)).found == {}


async def test_a_missed_cancellation_is_unpaid_but_active(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    harness.stripe.cancel(subscription_id)
    harness.events()
    report = await dry(harness)
    assert kinds(report) == {"u1": Kind.UNPAID_BUT_ACTIVE}
    assert report.found["skai", "u1"].stripe == "free (canceled)"
    await applied(harness)
    assert await harness.tier("u1") == "free"
    assert (await dry(harness)).found == {}


async def test_a_cancellation_to_come_is_another_difference(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    await harness.billing.stripe.transport.post(f"/v1/subscriptions/{subscription_id}", {"cancel_at_period_end": True})
    harness.events()
    report = await dry(harness)
    assert kinds(report) == {"u1": Kind.OTHER}
    assert report.found["skai", "u1"].repair.startswith("ends_at: none → ")
    await applied(harness)
    assert (await harness.status("u1"))["ends_at"] is not None
    assert (await dry(harness)).found == {}


async def test_a_missed_second_subscription_opens_its_alert(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    customer_id = await harness.customer_id("u1")
    items = [{"price": "price_pro_month"}]
    second = await harness.billing.stripe.transport.post("/v1/subscriptions", {"customer": customer_id, "items": items})
    harness.events()
    line = (await dry(harness)).found["skai", "u1"]
    assert line.kind is Kind.OTHER
    assert "alert duplicate_subscription is raised" in line.repair
    await applied(harness)
    assert "duplicate_subscription" in {kind for kind, _ in await harness.alerts()}
    assert (await dry(harness)).found == {}
    harness.stripe.cancel(second["id"])
    harness.events()
    assert "alert duplicate_subscription is over" in (await dry(harness)).found["skai", "u1"].repair
    await applied(harness)
    assert await harness.alerts() == set()


async def test_a_switch_to_another_price_is_found(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    item_id = harness.stripe.state.objects["subscription"][subscription_id]["items"]["data"][0]["id"]
    await harness.billing.stripe.transport.post(
        f"/v1/subscriptions/{subscription_id}", {"items": [{"id": item_id, "price": "price_123"}]}
    )
    harness.events()
    assert kinds(await dry(harness)) == {"u1": Kind.PAID_BUT_BLOCKED}
    await applied(harness)
    assert await harness.tier("u1") == "enterprise"


async def test_a_missed_failed_renewal_is_found(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    harness.stripe.fail_next_renewal(subscription_id)
    harness.events()
    report = await dry(harness)
    assert kinds(report) == {"u1": Kind.OTHER}  # grace: the same tier, but with an end
    await applied(harness)
    assert (await harness.status("u1"))["status"] == "past_due"
    assert (await dry(harness)).found == {}


async def test_a_tier_that_the_store_made_up_is_unpaid_but_active(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await tamper(harness, "UPDATE entitlements SET tier = 'enterprise' WHERE user_id = 'u1'")
    report = await dry(harness)
    assert kinds(report) == {"u1": Kind.UNPAID_BUT_ACTIVE}
    await applied(harness)
    assert await harness.tier("u1") == "pro"
    assert (await dry(harness)).found == {}


async def test_a_payer_missing_from_the_bulk_list_is_looked_up(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else: with a live key a customer without a subscription costs no request."""
    await harness.subscribed("u1", "pro")
    harness.stripe.cancel(await harness.subscribed("u2", "pro"))
    await harness.checkout("u3")
    harness.events()
    hide_from_bulk_lists(monkeypatch, await harness.customer_id("u2"))
    live = "sk_live_" + "a" * 8
    harness.stripe.secret_keys.add(live)
    harness.billing.stripe = Stripe(Transport(harness.http, (Secret(live),), api_base=harness.stripe_url))
    report = await dry(harness)
    assert kinds(report) == {"u2": Kind.UNPAID_BUT_ACTIVE}
    assert report.checked.one_by_one == 1


async def test_customers_of_a_test_clock_are_found_though_the_bulk_list_omits_them(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.buy("u1", "pro")
    harness.events()
    hide_from_bulk_lists(monkeypatch, await harness.customer_id("u1"))
    report = await dry(harness)
    assert report.checked.subscriptions == 0
    assert kinds(report) == {"u1": Kind.PAID_BUT_BLOCKED}


def hide_from_bulk_lists(monkeypatch: pytest.MonkeyPatch, customer_id: str) -> None:
    """What Stripe does with the customers of a test clock."""
    pages = Transport.pages

    async def without(self: Transport, path: str, params: Any = None) -> Any:
        async for page in pages(self, path, params):
            hidden = path == "/v1/subscriptions" and "customer" not in (params or {})
            yield [each for each in page if not (hidden and each["customer"] == customer_id)]

    monkeypatch.setattr(Transport, "pages", without)


async def test_limits_changed_by_hand_at_litellm_are_restored(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await harness.subscribed("s1", "plus", app_id="studio")
    harness.litellm.state.budgets["skai.pro"].rpm_limit = 1
    harness.litellm.state.users["s1"].max_budget = 1000
    report = await dry(harness)
    assert kinds(report) == {"u1": Kind.PAID_BUT_BLOCKED, "s1": Kind.UNPAID_BUT_ACTIVE}
    assert report.found["skai", "u1"].litellm == "rpm_limit: expected 60, LiteLLM has 1"
    await applied(harness)
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert harness.user_limits("s1") == {"max_budget": 20, "rpm_limit": 70}
    assert (await dry(harness)).found == {}


async def test_a_payer_missing_at_litellm_is_paid_but_blocked(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    del harness.litellm.state.customers["u1"]
    report = await dry(harness)
    assert kinds(report) == {"u1": Kind.PAID_BUT_BLOCKED}
    assert report.found["skai", "u1"].litellm == "does not know the user"
    await applied(harness)
    assert harness.limits("u1") is not None


async def test_a_free_user_on_a_paid_budget_is_unpaid_but_active(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    harness.litellm.state.customers["u1"].budget_id = "skai.pro"
    assert kinds(await dry(harness)) == {"u1": Kind.UNPAID_BUT_ACTIVE}
    await applied(harness)
    assert harness.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_limits_below_the_first_tier_are_no_paid_but_blocked(harness: Harness) -> None:
    harness.stripe.cancel(await harness.subscribed("u1", "pro"))
    await harness.catch_up()
    harness.litellm.state.budgets["skai.free"].rpm_limit = 1
    assert kinds(await dry(harness)) == {"u1": Kind.OTHER}
    del harness.litellm.state.customers["u1"]  # LiteLLM does not limit a user it does not know
    assert kinds(await dry(harness)) == {"u1": Kind.UNPAID_BUT_ACTIVE}


async def test_a_line_says_what_each_of_the_three_says(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    harness.stripe.cancel(subscription_id)
    harness.events()
    line = (await dry(harness)).found["skai", "u1"]
    assert (line.stripe, line.store) == ("free (canceled)", "pro (active)")
    assert "budget_id: expected 'skai.free', LiteLLM has 'skai.pro'" in line.litellm


async def test_correct_limits_are_reported_as_correct(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await tamper(harness, "UPDATE entitlements SET tier = 'enterprise' WHERE user_id = 'u1'")
    assert (await dry(harness)).found["skai", "u1"].litellm == "pro's limits"


async def test_a_payer_whose_status_and_limits_both_differ_gets_both_repaired(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    harness.litellm.state.budgets["skai.pro"].rpm_limit = 1
    await harness.billing.stripe.transport.post(f"/v1/subscriptions/{subscription_id}", {"cancel_at_period_end": True})
    harness.events()
    line = (await dry(harness)).found["skai", "u1"]
    assert line.kind is Kind.PAID_BUT_BLOCKED
    assert line.repair.endswith("; limits are rewritten")
    await applied(harness)
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert (await dry(harness)).found == {}


async def test_paid_but_blocked_comes_first_and_the_rest_last(harness: Harness) -> None:
    for user_id in ("a", "b", "c"):
        await harness.subscribed(user_id, "pro")
    a, b = (harness.stripe.state.all("subscription")[place]["id"] for place in (0, 1))
    await harness.billing.stripe.transport.post(f"/v1/subscriptions/{a}", {"cancel_at_period_end": True})
    harness.stripe.cancel(b)
    await tamper(harness, "UPDATE entitlements SET tier = 'free' WHERE user_id = 'c'")
    harness.events()
    shown = (await dry(harness)).shown()
    assert [(line["user_id"], line["kind"]) for line in shown["lines"]] == [
        ("c", "paid_but_blocked"), ("b", "unpaid_but_active"), ("a", "other"),
    ]  # fmt: skip
    assert shown["counts"] == {"paid_but_blocked": 1, "unpaid_but_active": 1, "other": 1}


async def test_a_dry_run_writes_nothing(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    await harness.buy("u2", "pro")
    harness.stripe.cancel(subscription_id)
    harness.litellm.state.budgets["skai.pro"].rpm_limit = 1
    before, requests = dump(harness), len(harness.litellm.requests)
    assert len((await dry(harness)).found) == 2
    assert dump(harness) == before
    sent = harness.litellm.requests[requests:]
    assert {entry["path"] for entry in sent} == {"/customer/info", "/customer/list"}
    assert not harness.requests("POST", "/v1/subscriptions")


async def test_another_app_is_not_touched(harness: Harness) -> None:
    await harness.buy("u1", "pro")
    await harness.buy("s1", "plus", app_id="studio")
    harness.events()
    report = await applied(harness, app_id="studio")
    assert kinds(report) == {"s1": Kind.PAID_BUT_BLOCKED}
    pending = await harness.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert pending is None or pending.wanted == 0
    with pytest.raises(NotFound):
        await dry(harness, "nope")


async def test_other_products_of_the_account_are_passed_over(harness: Harness) -> None:
    foreign = await harness.billing.stripe.transport.post("/v1/customers", {"email": "x@example.com"})
    harness.stripe.set_card(foreign["id"], "ok")
    await harness.billing.stripe.transport.post(
        "/v1/subscriptions", {"customer": foreign["id"], "items": [{"price": "price_plus"}]}
    )
    report = await dry(harness)
    assert report.found == {}
    assert report.checked.one_by_one == 0


async def test_a_user_being_refreshed_is_not_reported(harness: Harness) -> None:
    await harness.buy("u1", "pro")
    await harness.deliver()
    await harness.want("u1")
    assert (await dry(harness)).found == {}


async def test_what_changes_while_it_is_looked_up_is_not_reported(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription is canceled and refreshed between our fetch and our comparison: ours is the older truth."""
    subscription_id = await harness.buy("u1", "pro")
    fetch = fetch_holdings

    async def overtaken(*requests: Any) -> Any:
        holdings = await fetch(*requests)
        harness.stripe.cancel(subscription_id)
        await harness.catch_up()
        return holdings

    monkeypatch.setattr("gateway.billing.reconcile.reconcile.fetch_holdings", overtaken)
    harness.events()
    assert (await dry(harness)).found == {}
    assert (await harness.status("u1"))["status"] == "canceled"


async def test_a_refresh_that_keeps_failing_does_not_hide_the_drift(harness: Harness) -> None:
    await harness.buy("u1", "pro")
    harness.events()
    await harness.want("u1")
    harness.stripe.fault("status", "/v1/subscriptions", "GET", times=9, status=500)
    await harness.refresh()
    harness.stripe.faults.clear()
    assert kinds(await dry(harness)) == {"u1": Kind.PAID_BUT_BLOCKED}


async def test_a_wrong_key_lowers_no_tier(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    before = dump(harness)
    harness.billing.stripe = Stripe(Transport(harness.http, (Secret("sk_test_nobodys"),), api_base=harness.stripe_url))
    with pytest.raises(UpstreamFailed) as refused:
        await reconcile(harness.billing, ReconcileOptions(apply=True, yes=True))
    assert refused.value.status == 401
    assert dump(harness) == before


async def test_another_accounts_key_lowers_no_tier(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    before = dump(harness)
    # To that account all our customers are unknown, and it has no subscription at all.
    harness.stripe.state.objects["customer"].clear()
    harness.stripe.state.objects["subscription"].clear()
    for requests in (ReconcileOptions(), ReconcileOptions(apply=True, yes=True)):
        with pytest.raises(UpstreamFailed) as refused:
            await reconcile(harness.billing, requests)
        assert "No such customer" in refused.value.detail
    assert dump(harness) == before


async def test_another_accounts_key_is_known_by_more_than_the_newest_customer(harness: Harness) -> None:
    for number in range(7):
        await harness.subscribed(f"u{number}", "pro")
        harness.move(10)
    kept = await harness.customer_id("u6")
    customers = harness.stripe.state.objects["customer"]
    harness.stripe.state.objects["customer"] = {kept: customers[kept]}
    harness.stripe.state.objects["subscription"].clear()
    with pytest.raises(UpstreamFailed, match="another account"):
        await reconcile(harness.billing, ReconcileOptions(apply=True, yes=True))
    assert await harness.tier("u0") == "pro"


async def test_one_customer_unknown_to_stripe_is_left_to_the_operator(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    harness.move(10)
    await harness.subscribed("u2", "pro")
    lost = await harness.customer_id("u1")
    del harness.stripe.state.objects["customer"][lost]
    harness.stripe.state.objects["subscription"] = {
        each["id"]: each for each in harness.stripe.state.all("subscription") if each["customer"] != lost
    }
    report = await applied(harness)
    assert report.found["skai", "u1"].stripe == "no such customer"
    assert report.found["skai", "u1"].repair.startswith("none")
    assert await harness.tier("u1") == "pro"


async def leaving(harness: Harness, count: int) -> None:
    """So many of seven payers cancel without a webhook."""
    for number in range(7):
        await harness.subscribed(f"u{number}", "pro")
    for each in harness.stripe.state.all("subscription")[:count]:
        harness.stripe.cancel(each["id"])
    harness.events()


async def test_a_wave_stops_and_applies_nothing(harness: Harness) -> None:
    await leaving(harness, 6)
    await harness.buy("u9", "pro")  # is not raised either: nothing is nothing
    harness.events()
    before = dump(harness)
    report = await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert report.lowered == 6
    assert report.stopped is not None
    assert not report.applied
    assert dump(harness) == before


async def test_a_wave_is_applied_when_the_operator_says_so(harness: Harness) -> None:
    await leaving(harness, 6)
    assert (await applied(harness, yes=True)).applied
    assert [await harness.tier(f"u{number}") for number in range(7)] == ["free"] * 6 + ["pro"]


async def test_a_few_cancellations_are_no_wave(harness: Harness) -> None:
    await leaving(harness, 5)
    assert (await applied(harness)).applied
    assert await harness.tier("u0") == "free"


@pytest.mark.parametrize(("payers", "allowed"), [(0, 5), (100, 5), (250, 5), (300, 6), (10_000, 200)])
def test_a_wave_is_more_than_five_and_more_than_two_in_a_hundred(payers: int, allowed: int) -> None:
    report = Report(None, payers=payers)
    for number in range(allowed + 1):
        assert not report.is_wave
        report.add(lowering(number))
    assert report.is_wave


def lowering(number: int) -> Line:
    return Line(Kind.UNPAID_BUT_ACTIVE, "skai", f"u{number}", "", "", "", "", lowers=True)


async def test_stripe_failing_in_the_middle_applies_nothing(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await harness.buy("u2", "pro")
    harness.events()
    harness.stripe.fault("status", "/v1/subscriptions", "GET", times=1, status=429, should_retry=False)
    with pytest.raises(UpstreamFailed):
        await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert await harness.tier("u2") == "free"


async def test_a_page_that_stripe_promises_but_does_not_send_is_an_error(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Transport.get

    async def cut(self: Transport, path: str, params: Any = None) -> Any:
        answer = await get(self, path, params)
        return {**answer, "data": [], "has_more": True} if path == "/v1/subscriptions" else answer

    await harness.subscribed("u1", "pro")
    monkeypatch.setattr(Transport, "get", cut)
    with pytest.raises(UpstreamFailed, match="without a next page"):
        await dry(harness)


async def test_an_unreachable_litellm_is_a_problem_and_stripes_side_is_repaired(harness: Harness) -> None:
    await harness.buy("u1", "pro")
    await harness.subscribed("u2", "pro")  # and delivers u1's purchase too
    await harness.buy("u3", "pro")
    harness.events()
    harness.litellm_fault("status", "/customer/info", times=99, status=500)
    report = await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert kinds(report) == {"u3": Kind.PAID_BUT_BLOCKED}
    assert report.applied
    assert "the limits of 2 users of skai could not be read from LiteLLM" in report.problems[0]


async def test_more_than_a_page_of_subscriptions_is_read(harness: Harness) -> None:
    await harness.subscribed("first", "pro")
    foreign = await harness.billing.stripe.transport.post("/v1/customers", {"email": "x@example.com"})
    harness.stripe.set_card(foreign["id"], "ok")
    for _ in range(120):
        await harness.billing.stripe.transport.post(
            "/v1/subscriptions", {"customer": foreign["id"], "items": [{"price": "price_plus"}]}
        )
    report = await dry(harness)
    assert report.checked.subscriptions == 121
    assert (report.found, report.checked.one_by_one) == ({}, 0)


async def test_a_timer_that_never_fired_is_found(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    assert (await harness.status("u1"))["status"] == "past_due"
    await tamper(harness, "UPDATE refreshes SET due_at = NULL, timer_at = NULL")
    harness.stripe.settings.after_dunning = "past_due"
    harness.move(8 * DAY)
    harness.events()
    assert kinds(await dry(harness)) == {"u1": Kind.UNPAID_BUT_ACTIVE}


def test_a_report_shows_a_thousand_lines_and_says_how_many_more_there_are() -> None:
    report = Report(None)
    for number in range(1200):
        report.add(lowering(number))
    shown = report.shown()
    assert (len(shown["lines"]), shown["left_out"]) == (1000, 200)

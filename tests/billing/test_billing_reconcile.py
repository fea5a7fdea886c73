"""Each kind of drift, seeded one at a time: named right, repaired through the same path, gone at the second look."""

import sqlite3
from typing import Any

import pytest
from servers.world import DAY, World
from sqlalchemy import text

from gateway.billing.drift import Kind, Line, Report
from gateway.billing.holdings import fetch_holdings
from gateway.billing.pace import Pace
from gateway.billing.reconcile import reconcile
from gateway.billing.reconciling import Asked
from gateway.errors import NotFound, UpstreamFailed
from gateway.settings import Secret
from gateway.store import refreshes
from gateway.stripe.client import Stripe


@pytest.fixture(autouse=True)
def _at_once(world: World) -> None:
    world.billing.reconciling.pace = Pace(1e9)


def dump(world: World) -> list[str]:
    """Everything in the database, as SQL."""
    with sqlite3.connect(world.folder / "world.db") as conn:
        return list(conn.iterdump())


async def tamper(world: World, sql: str, **values: Any) -> None:
    """Change our store behind our back, as a bug or a restored backup would."""
    await world.store.write(lambda conn: conn.execute(text(sql), values))


async def dry(world: World, app_id: str | None = None) -> Report:
    return await reconcile(world.billing, Asked(app_id))


async def applied(world: World, **more: Any) -> Report:
    """Repair, and do all that follows."""
    report = await reconcile(world.billing, Asked(apply=True, **more))
    await world.settle()
    return report


def kinds(report: Report) -> dict[str, Kind]:
    return {user_id: line.kind for (_, user_id), line in report.found.items()}


async def test_nothing_is_found_where_all_three_agree(world: World) -> None:
    await world.subscribed("u1", "pro")
    await world.subscribed("s1", "plus", app_id="studio")
    await world.checkout("u2")  # a customer who never bought
    report = await dry(world)
    assert report.found == {}
    assert (report.checked.subscriptions, report.checked.customers, report.checked.litellm) == (2, 3, 2)


async def test_who_paid_while_no_webhook_came_is_paid_but_blocked(world: World) -> None:
    await world.subscribed("u1", "pro")
    await world.buy("u2", "enterprise")
    world.events()  # lost
    report = await dry(world)
    assert kinds(report) == {"u2": Kind.PAID_BUT_BLOCKED}
    line = report.found["skai", "u2"]
    assert (line.stripe, line.store) == ("enterprise (active)", "nothing")
    assert line.repair.startswith("tier: free → enterprise")
    assert (await applied(world)).applied
    assert await world.tier("u2") == "enterprise"
    assert world.limits("u2") == {"budget_id": "skai.enterprise", "max_budget": 50, "rpm_limit": 120}
    assert ("skai", "u2", "enterprise") in world.told
    assert (await dry(world)).found == {}


async def test_who_canceled_while_no_webhook_came_is_unpaid_but_active(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    world.stripe.cancel(subscription_id)
    world.events()
    report = await dry(world)
    assert kinds(report) == {"u1": Kind.UNPAID_BUT_ACTIVE}
    assert report.found["skai", "u1"].stripe == "free (canceled)"
    await applied(world)
    assert await world.tier("u1") == "free"
    assert (await dry(world)).found == {}


async def test_a_cancellation_to_come_is_another_difference(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    await world.billing.stripe.post(f"/v1/subscriptions/{subscription_id}", {"cancel_at_period_end": True})
    world.events()
    report = await dry(world)
    assert kinds(report) == {"u1": Kind.OTHER}
    assert report.found["skai", "u1"].repair.startswith("ends_at: none → ")
    await applied(world)
    assert (await world.status("u1"))["ends_at"] is not None
    assert (await dry(world)).found == {}


async def test_a_second_subscription_that_nobody_told_of_raises_its_alert(world: World) -> None:
    await world.subscribed("u1", "pro")
    customer_id = await world.customer_id("u1")
    items = [{"price": "price_pro_month"}]
    second = await world.billing.stripe.post("/v1/subscriptions", {"customer": customer_id, "items": items})
    world.events()
    line = (await dry(world)).found["skai", "u1"]
    assert line.kind is Kind.OTHER
    assert "alert duplicate_subscription is raised" in line.repair
    await applied(world)
    assert "duplicate_subscription" in {kind for kind, _ in await world.alerts()}
    assert (await dry(world)).found == {}
    world.stripe.cancel(second["id"])
    world.events()
    assert "alert duplicate_subscription is over" in (await dry(world)).found["skai", "u1"].repair
    await applied(world)
    assert await world.alerts() == set()


async def test_a_switch_to_another_price_is_found(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    item_id = world.stripe.world.objects["subscription"][subscription_id]["items"]["data"][0]["id"]
    await world.billing.stripe.post(
        f"/v1/subscriptions/{subscription_id}", {"items": [{"id": item_id, "price": "price_123"}]}
    )
    world.events()
    assert kinds(await dry(world)) == {"u1": Kind.PAID_BUT_BLOCKED}
    await applied(world)
    assert await world.tier("u1") == "enterprise"


async def test_a_failed_renewal_that_nobody_told_of_is_found(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    world.stripe.fail_next_renewal(subscription_id)
    world.events()
    report = await dry(world)
    assert kinds(report) == {"u1": Kind.OTHER}  # grace: the same tier, but with an end
    await applied(world)
    assert (await world.status("u1"))["status"] == "past_due"
    assert (await dry(world)).found == {}


async def test_a_tier_that_the_store_made_up_is_unpaid_but_active(world: World) -> None:
    await world.subscribed("u1", "pro")
    await tamper(world, "UPDATE entitlements SET tier = 'enterprise' WHERE user_id = 'u1'")
    report = await dry(world)
    assert kinds(report) == {"u1": Kind.UNPAID_BUT_ACTIVE}
    await applied(world)
    assert await world.tier("u1") == "pro"
    assert (await dry(world)).found == {}


async def test_a_payer_whom_the_bulk_list_does_not_show_is_looked_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else: with a live key a customer without a subscription costs no request."""
    await world.subscribed("u1", "pro")
    world.stripe.cancel(await world.subscribed("u2", "pro"))
    await world.checkout("u3")
    world.events()
    hide_from_bulk_lists(monkeypatch, await world.customer_id("u2"))
    live = "sk_live_" + "a" * 8
    world.stripe.secret_keys.add(live)
    world.billing.stripe = Stripe(world.http, (Secret(live),), api_base=world.stripe_url)
    report = await dry(world)
    assert kinds(report) == {"u2": Kind.UNPAID_BUT_ACTIVE}
    assert report.checked.one_by_one == 1


async def test_customers_of_a_test_clock_are_found_though_the_bulk_list_omits_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.buy("u1", "pro")
    world.events()
    hide_from_bulk_lists(monkeypatch, await world.customer_id("u1"))
    report = await dry(world)
    assert report.checked.subscriptions == 0
    assert kinds(report) == {"u1": Kind.PAID_BUT_BLOCKED}


def hide_from_bulk_lists(monkeypatch: pytest.MonkeyPatch, customer_id: str) -> None:
    """What Stripe does with the customers of a test clock."""
    pages = Stripe.pages

    async def without(self: Stripe, path: str, params: Any = None) -> Any:
        async for page in pages(self, path, params):
            hidden = path == "/v1/subscriptions" and "customer" not in (params or {})
            yield [each for each in page if not (hidden and each["customer"] == customer_id)]

    monkeypatch.setattr(Stripe, "pages", without)


async def test_limits_changed_by_hand_at_litellm_are_written_again(world: World) -> None:
    await world.subscribed("u1", "pro")
    await world.subscribed("s1", "plus", app_id="studio")
    world.litellm.state.budgets["skai.pro"].rpm_limit = 1
    world.litellm.state.users["s1"].max_budget = 1000
    report = await dry(world)
    assert kinds(report) == {"u1": Kind.PAID_BUT_BLOCKED, "s1": Kind.UNPAID_BUT_ACTIVE}
    assert report.found["skai", "u1"].litellm == "rpm_limit: wanted 60, LiteLLM has 1"
    await applied(world)
    assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert world.user_limits("s1") == {"max_budget": 20, "rpm_limit": 70}
    assert (await dry(world)).found == {}


async def test_a_payer_whom_litellm_forgot_is_paid_but_blocked(world: World) -> None:
    await world.subscribed("u1", "pro")
    del world.litellm.state.customers["u1"]
    report = await dry(world)
    assert kinds(report) == {"u1": Kind.PAID_BUT_BLOCKED}
    assert report.found["skai", "u1"].litellm == "does not know the user"
    await applied(world)
    assert world.limits("u1") is not None


async def test_a_free_user_on_a_paid_budget_is_unpaid_but_active(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    world.litellm.state.customers["u1"].budget_id = "skai.pro"
    assert kinds(await dry(world)) == {"u1": Kind.UNPAID_BUT_ACTIVE}
    await applied(world)
    assert world.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_less_than_the_first_tier_blocks_nobody_who_paid(world: World) -> None:
    world.stripe.cancel(await world.subscribed("u1", "pro"))
    await world.catch_up()
    world.litellm.state.budgets["skai.free"].rpm_limit = 1
    assert kinds(await dry(world)) == {"u1": Kind.OTHER}
    del world.litellm.state.customers["u1"]  # LiteLLM leaves whom it does not know unlimited
    assert kinds(await dry(world)) == {"u1": Kind.UNPAID_BUT_ACTIVE}


async def test_a_line_says_what_each_of_the_three_says(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    world.stripe.cancel(subscription_id)
    world.events()
    line = (await dry(world)).found["skai", "u1"]
    assert (line.stripe, line.store) == ("free (canceled)", "pro (active)")
    assert "budget_id: wanted 'skai.free', LiteLLM has 'skai.pro'" in line.litellm


async def test_limits_that_are_right_already_are_said_to_be(world: World) -> None:
    await world.subscribed("u1", "pro")
    await tamper(world, "UPDATE entitlements SET tier = 'enterprise' WHERE user_id = 'u1'")
    assert (await dry(world)).found["skai", "u1"].litellm == "pro's limits"


async def test_a_payer_whose_status_and_limits_both_differ_gets_both_repaired(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    world.litellm.state.budgets["skai.pro"].rpm_limit = 1
    await world.billing.stripe.post(f"/v1/subscriptions/{subscription_id}", {"cancel_at_period_end": True})
    world.events()
    line = (await dry(world)).found["skai", "u1"]
    assert line.kind is Kind.PAID_BUT_BLOCKED
    assert line.repair.endswith("; limits are written again")
    await applied(world)
    assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert (await dry(world)).found == {}


async def test_paid_but_blocked_comes_first_and_the_rest_last(world: World) -> None:
    for user_id in ("a", "b", "c"):
        await world.subscribed(user_id, "pro")
    a, b = (world.stripe.world.all("subscription")[place]["id"] for place in (0, 1))
    await world.billing.stripe.post(f"/v1/subscriptions/{a}", {"cancel_at_period_end": True})
    world.stripe.cancel(b)
    await tamper(world, "UPDATE entitlements SET tier = 'free' WHERE user_id = 'c'")
    world.events()
    shown = (await dry(world)).shown()
    assert [(line["user_id"], line["kind"]) for line in shown["lines"]] == [
        ("c", "paid_but_blocked"), ("b", "unpaid_but_active"), ("a", "other"),
    ]  # fmt: skip
    assert shown["counts"] == {"paid_but_blocked": 1, "unpaid_but_active": 1, "other": 1}


async def test_looking_writes_nothing(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    await world.buy("u2", "pro")
    world.stripe.cancel(subscription_id)
    world.litellm.state.budgets["skai.pro"].rpm_limit = 1
    before, requests = dump(world), len(world.litellm.requests)
    assert len((await dry(world)).found) == 2
    assert dump(world) == before
    asked = world.litellm.requests[requests:]
    assert {entry["path"] for entry in asked} == {"/customer/info", "/customer/list"}
    assert not world.asked("POST", "/v1/subscriptions")


async def test_another_app_is_not_touched(world: World) -> None:
    await world.buy("u1", "pro")
    await world.buy("s1", "plus", app_id="studio")
    world.events()
    report = await applied(world, app_id="studio")
    assert kinds(report) == {"s1": Kind.PAID_BUT_BLOCKED}
    pending = await world.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert pending is None or pending.wanted == 0
    with pytest.raises(NotFound):
        await dry(world, "nope")


async def test_other_products_of_the_account_are_passed_over(world: World) -> None:
    stranger = await world.billing.stripe.post("/v1/customers", {"email": "x@example.com"})
    world.stripe.set_card(stranger["id"], "ok")
    await world.billing.stripe.post(
        "/v1/subscriptions", {"customer": stranger["id"], "items": [{"price": "price_plus"}]}
    )
    report = await dry(world)
    assert report.found == {}
    assert report.checked.one_by_one == 0


async def test_who_is_being_refreshed_is_not_reported(world: World) -> None:
    await world.buy("u1", "pro")
    await world.deliver()
    await world.want("u1")
    assert (await dry(world)).found == {}


async def test_what_changes_while_it_is_looked_up_is_not_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription is canceled and refreshed between our fetch and our comparison: ours is the older truth."""
    subscription_id = await world.buy("u1", "pro")
    fetch = fetch_holdings

    async def overtaken(*asked: Any) -> Any:
        holdings = await fetch(*asked)
        world.stripe.cancel(subscription_id)
        await world.catch_up()
        return holdings

    monkeypatch.setattr("gateway.billing.reconcile.fetch_holdings", overtaken)
    world.events()
    assert (await dry(world)).found == {}
    assert (await world.status("u1"))["status"] == "canceled"


async def test_a_refresh_that_keeps_failing_does_not_hide_the_drift(world: World) -> None:
    await world.buy("u1", "pro")
    world.events()
    await world.want("u1")
    world.stripe.fault("status", "/v1/subscriptions", "GET", times=9, status=500)
    await world.refresh()
    world.stripe.faults.clear()
    assert kinds(await dry(world)) == {"u1": Kind.PAID_BUT_BLOCKED}


async def test_a_wrong_key_lowers_nobody(world: World) -> None:
    await world.subscribed("u1", "pro")
    before = dump(world)
    world.billing.stripe = Stripe(world.http, (Secret("sk_test_nobodys"),), api_base=world.stripe_url)
    with pytest.raises(UpstreamFailed) as refused:
        await reconcile(world.billing, Asked(apply=True, yes=True))
    assert refused.value.status == 401
    assert dump(world) == before


async def test_another_accounts_key_lowers_nobody(world: World) -> None:
    await world.subscribed("u1", "pro")
    before = dump(world)
    # To that account all our customers are unknown, and it has no subscription at all.
    world.stripe.world.objects["customer"].clear()
    world.stripe.world.objects["subscription"].clear()
    for asked in (Asked(), Asked(apply=True, yes=True)):
        with pytest.raises(UpstreamFailed) as refused:
            await reconcile(world.billing, asked)
        assert "No such customer" in refused.value.detail
    assert dump(world) == before


async def test_another_accounts_key_is_known_by_more_than_the_newest_customer(world: World) -> None:
    for number in range(7):
        await world.subscribed(f"u{number}", "pro")
        world.move(10)
    kept = await world.customer_id("u6")
    customers = world.stripe.world.objects["customer"]
    world.stripe.world.objects["customer"] = {kept: customers[kept]}
    world.stripe.world.objects["subscription"].clear()
    with pytest.raises(UpstreamFailed, match="another account"):
        await reconcile(world.billing, Asked(apply=True, yes=True))
    assert await world.tier("u0") == "pro"


async def test_one_customer_whom_stripe_does_not_know_is_for_a_person(world: World) -> None:
    await world.subscribed("u1", "pro")
    world.move(10)
    await world.subscribed("u2", "pro")
    lost = await world.customer_id("u1")
    del world.stripe.world.objects["customer"][lost]
    world.stripe.world.objects["subscription"] = {
        each["id"]: each for each in world.stripe.world.all("subscription") if each["customer"] != lost
    }
    report = await applied(world)
    assert report.found["skai", "u1"].stripe == "no such customer"
    assert report.found["skai", "u1"].repair.startswith("none")
    assert await world.tier("u1") == "pro"


async def leaving(world: World, count: int) -> None:
    """So many of seven payers leave, and nobody tells us."""
    for number in range(7):
        await world.subscribed(f"u{number}", "pro")
    for each in world.stripe.world.all("subscription")[:count]:
        world.stripe.cancel(each["id"])
    world.events()


async def test_a_wave_stops_and_applies_nothing(world: World) -> None:
    await leaving(world, 6)
    await world.buy("u9", "pro")  # is not raised either: nothing is nothing
    world.events()
    before = dump(world)
    report = await reconcile(world.billing, Asked(apply=True))
    assert report.lowered == 6
    assert report.stopped is not None
    assert not report.applied
    assert dump(world) == before


async def test_a_wave_is_applied_when_the_operator_says_so(world: World) -> None:
    await leaving(world, 6)
    assert (await applied(world, yes=True)).applied
    assert [await world.tier(f"u{number}") for number in range(7)] == ["free"] * 6 + ["pro"]


async def test_a_few_who_leave_are_no_wave(world: World) -> None:
    await leaving(world, 5)
    assert (await applied(world)).applied
    assert await world.tier("u0") == "free"


@pytest.mark.parametrize(("payers", "allowed"), [(0, 5), (100, 5), (250, 5), (300, 6), (10_000, 200)])
def test_a_wave_is_more_than_five_and_more_than_two_in_a_hundred(payers: int, allowed: int) -> None:
    report = Report(None, payers=payers)
    for number in range(allowed + 1):
        assert not report.is_wave
        report.add(lowering(number))
    assert report.is_wave


def lowering(number: int) -> Line:
    return Line(Kind.UNPAID_BUT_ACTIVE, "skai", f"u{number}", "", "", "", "", lowers=True)


async def test_stripe_failing_in_the_middle_applies_nothing(world: World) -> None:
    await world.subscribed("u1", "pro")
    await world.buy("u2", "pro")
    world.events()
    world.stripe.fault("status", "/v1/subscriptions", "GET", times=1, status=429, should_retry=False)
    with pytest.raises(UpstreamFailed):
        await reconcile(world.billing, Asked(apply=True))
    assert await world.tier("u2") == "free"


async def test_a_page_that_stripe_promises_but_does_not_send_is_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Stripe.get

    async def cut(self: Stripe, path: str, params: Any = None) -> Any:
        answer = await get(self, path, params)
        return {**answer, "data": [], "has_more": True} if path == "/v1/subscriptions" else answer

    await world.subscribed("u1", "pro")
    monkeypatch.setattr(Stripe, "get", cut)
    with pytest.raises(UpstreamFailed, match="does not go on"):
        await dry(world)


async def test_a_litellm_that_is_away_is_a_problem_and_stripes_side_is_repaired(world: World) -> None:
    await world.buy("u1", "pro")
    await world.subscribed("u2", "pro")  # and delivers u1's purchase too
    await world.buy("u3", "pro")
    world.events()
    world.litellm_fault("status", "/customer/info", times=99, status=500)
    report = await reconcile(world.billing, Asked(apply=True))
    assert kinds(report) == {"u3": Kind.PAID_BUT_BLOCKED}
    assert report.applied
    assert "could not be asked about 2 users of skai" in report.problems[0]


async def test_more_than_a_page_of_subscriptions_is_read(world: World) -> None:
    await world.subscribed("first", "pro")
    stranger = await world.billing.stripe.post("/v1/customers", {"email": "x@example.com"})
    world.stripe.set_card(stranger["id"], "ok")
    for _ in range(120):
        await world.billing.stripe.post(
            "/v1/subscriptions", {"customer": stranger["id"], "items": [{"price": "price_plus"}]}
        )
    report = await dry(world)
    assert report.checked.subscriptions == 121
    assert (report.found, report.checked.one_by_one) == ({}, 0)


async def test_a_timer_that_never_fired_is_found(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    world.stripe.fail_next_renewal(subscription_id)
    await world.catch_up()
    assert (await world.status("u1"))["status"] == "past_due"
    await tamper(world, "UPDATE refreshes SET due_at = NULL, timer_at = NULL")
    world.stripe.settings.after_dunning = "past_due"
    world.move(8 * DAY)
    world.events()
    assert kinds(await dry(world)) == {"u1": Kind.UNPAID_BUT_ACTIVE}


def test_a_report_shows_a_thousand_lines_and_says_how_many_more_there_are() -> None:
    report = Report(None)
    for number in range(1200):
        report.add(lowering(number))
    shown = report.shown()
    assert (len(shown["lines"]), shown["left_out"]) == (1000, 200)

"""Stripe, LiteLLM, Open WebUI and the machine: each well, and each way of being broken."""

from __future__ import annotations

import copy
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from servers.running import ADMIN_TOKEN, PUBLIC_URL, SESSION_SECRET, Running, running_application, served, write_apps
from servers.traefik import until

from gateway.doctor import Options, examine
from gateway.sandbox.demo.sample_app import session_token
from gateway.sandbox.stripe import API_VERSION
from gateway.settings import read_settings
from gateway.stripe.event_types import NEEDED, USEFUL

URL = f"{PUBLIC_URL}/webhook/stripe"


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with everything as it should be."""
    write_apps(tmp_path, lambda apps: apps["apps"][0]["litellm"].update(shared_key="env:LITELLM_KEY"))
    async with running_application(tmp_path) as running:
        running.environ["PORT"] = str(running.application.web_port)
        running.environ["GATE_PORT"] = str(running.application.gate_port)
        running.stripe.add_endpoint(URL, "whsec_other", api_version=API_VERSION)
        yield running


async def findings(
    installation: Running, subject: str, cookie: str | None = None, **environ: str
) -> list[tuple[str, str]]:
    """(state, message) of every finding whose subject starts so; all others are ok or were not checked."""
    found = await examine(read_settings({**installation.environ, **environ}), Options(cookie=cookie))
    others = [each for each in found if not each.subject.startswith(subject)]
    assert [each for each in others if each.state in ("bad", "warning")] == []
    assert all(each.remedy for each in found if each.state in ("bad", "warning"))
    return [(each.state, each.message) for each in found if each.subject.startswith(subject)]


async def test_findings_without_a_problem_state_what_was_checked(installation: Running) -> None:
    found = await examine(read_settings(installation.environ), Options())
    messages = {each.subject: each.message for each in found if each.state == "ok"}
    assert messages["stripe prices"] == "3, as apps.json has them"
    assert messages["webhook endpoint"] == "enabled, with every event"
    assert messages["litellm key"] == "may call all that is needed"
    assert messages["apps.json"] == "2 apps, and the server serves them"
    assert messages["clock"] == "as Stripe's"
    assert messages["stripe key"].startswith("test mode, acct_sandbox, at http://127.0.0.1:")


# Stripe


def price(installation: Running, lookup_key: str) -> dict[str, Any]:
    found = next(each for each in installation.stripe.state.all("price") if each["lookup_key"] == lookup_key)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"active": False}, ("bad", "skai/pro/skai_pro_month: Stripe has no active price")),
        ({"lookup_key": "moved"}, ("bad", "skai/pro/skai_pro_month: Stripe has no active price")),
        ({"recurring": None}, ("bad", "skai/pro/skai_pro_month: is paid once, so it makes no subscription")),
        ({"unit_amount": 1}, None),  # apps.json does not say how much
    ],
)
async def test_prices(installation: Running, change: dict[str, Any], expected: tuple[str, str] | None) -> None:
    price(installation, "skai_pro_month").update(change)
    assert await findings(installation, "stripe prices") == [expected or ("ok", "3, as apps.json has them")]


async def test_a_price_that_differs_is_a_warning_also_by_id(installation: Running) -> None:
    text = (installation.folder / "apps.json").read_text()
    changed = text.replace('{"lookup_key": "skai_pro_month"}', '{"price_id": "price_9", "unit_amount": 5}')
    (installation.folder / "apps.json").write_text(changed)
    installation.stripe.add_price(installation.stripe.add_product("Pro"), 2000, price_id="price_9")

    async def served() -> bool:
        return installation.application.parts.billing.apps.catalog.apps["skai"].tiers[1].prices[0].price_id == "price_9"

    await until(served, "the edit is served")
    line = "skai/pro/price_9: unit_amount is 2000 at Stripe, 5 in apps.json"
    assert await findings(installation, "stripe prices") == [("warning", line)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "disabled"}, [("bad", "is disabled")]),
        ({"url": f"{URL}/"}, [("bad", f"calls {URL}/, which is not our URL")]),
        (
            {"url": URL.replace("https", "http")},
            [("bad", f"calls {URL.replace('https', 'http')}, which is not our URL")],
        ),
        ({"url": "https://other.example.com/hook"}, [("bad", "Stripe has no endpoint with our URL")]),
        ({"enabled_events": [*NEEDED, *USEFUL]}, [("ok", "enabled, with every event")]),
        ({"enabled_events": [*NEEDED, *USEFUL[1:]]}, [("warning", "misses charge.dispute.funds_reinstated")]),
        ({"enabled_events": [*NEEDED[:-2], *USEFUL]}, [("bad", "misses invoice.paid, invoice.payment_failed")]),
        ({"api_version": "2024-06-20"}, [("warning", "its events are of the API version 2024-06-20")]),
        ({"api_version": None}, [("warning", "its events are of the API version of the account")]),
    ],
)
async def test_the_webhook_endpoint(
    installation: Running, change: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    ours = next(each for each in installation.stripe.state.all("webhook_endpoint") if each["url"] == URL)
    ours.update(change)
    assert await findings(installation, "webhook endpoint") == expected


async def test_an_old_endpoint_beside_the_new_one_is_fine_unless_both_are_on(installation: Running) -> None:
    second = installation.stripe.add_endpoint(URL, "whsec_second", api_version=API_VERSION)
    assert await findings(installation, "webhook endpoint") == [
        ("warning", "there are 2 with our URL, each event comes as often")
    ]
    installation.stripe.state.find("webhook_endpoint", second["id"])["status"] = "disabled"
    assert await findings(installation, "webhook endpoint") == [("ok", "enabled, with every event")]


async def test_a_destination_for_thin_events_is_as_good(installation: Running) -> None:
    installation.stripe.state.objects["webhook_endpoint"].clear()
    installation.stripe.add_destination("https://other.example.com/hook", ["*"])
    assert await findings(installation, "webhook endpoint") == [("bad", "Stripe has no endpoint with our URL")]
    installation.stripe.add_destination(URL, [f"v1.{event}" for event in (*NEEDED, *USEFUL[1:])])
    assert await findings(installation, "webhook endpoint") == [("warning", "misses charge.dispute.funds_reinstated")]


@pytest.mark.parametrize(("age", "is_reported"), [(600, True), (10, False), (100_000, False)])
async def test_events_that_were_not_accepted_today(installation: Running, age: int, is_reported: bool) -> None:
    """Only this shows a wrong STRIPE_WEBHOOK_SECRET. Events that are recent or already recorded are not reported."""
    installation.application.parts.billing.work.started_at -= 2 * 86_400
    installation.stripe.deliveries.paused = True
    event = installation.stripe.emit("product.updated", {"id": "prod_1", "object": "product"})
    stored = installation.stripe.state.find("event", event["id"])
    stored["created"], stored["pending_webhooks"] = int(time.time()) - age, 1
    for other in installation.stripe.state.all("event"):
        if other is not stored:
            other["pending_webhooks"] = 0
    expected = ("warning", "1 events of the last day were not accepted by an endpoint")
    assert await findings(installation, "webhook deliveries") == [
        expected if is_reported else ("ok", "none of the last day is waiting")
    ]


async def test_events_from_before_the_start_are_no_warning(installation: Running) -> None:
    event = installation.stripe.emit("product.updated", {"id": "prod_1", "object": "product"})
    stored = installation.stripe.state.find("event", event["id"])
    stored["created"], stored["pending_webhooks"] = int(time.time()) - 3000, 1
    expected = [("ok", "the server started a moment ago; what came before, it reads by itself")]
    assert await findings(installation, "webhook deliveries") == expected
    installation.application.parts.billing.work.started_at -= 2000
    assert await findings(installation, "webhook deliveries") == [("ok", "none of the last day is waiting")]


async def test_a_restricted_key_names_the_rights_it_lacks(installation: Running) -> None:
    for path in ("/v1/disputes", "/v1/radar/early_fraud_warnings"):
        installation.stripe.fault("status", path, status=403, times=9)
    assert await findings(installation, "stripe rights") == [("bad", "the key may not read Disputes, Radar")]


async def test_a_database_of_another_account(installation: Running) -> None:
    installation.application.parts.billing.account.wrong = True
    assert await findings(installation, "stripe key") == [
        ("bad", "is of another account or mode than the database (test)")
    ]


async def test_a_portal_is_compared_with_what_was_written(installation: Running) -> None:
    async def portal() -> tuple[str, str]:
        (skai, _) = await findings(installation, "stripe portal")
        return skai

    assert await portal() == ("ok", "not made yet: the first visit makes it")
    await installation.admin("POST", "/admin/portals/push")
    assert await portal() == ("ok", "as it was written: changes are paid at once, downgrades wait")
    ours = next(each for each in installation.stripe.state.all("billing_portal.configuration")
                if each["metadata"] == {"app_id": "skai"})  # fmt: skip
    update = ours["features"]["subscription_update"]
    update["default_allowed_updates"].append("quantity")
    update["schedule_at_period_end"]["conditions"].reverse()
    update["products"][0]["adjustable_quantity"]["enabled"] = True
    line = "was changed at Stripe: features.subscription_update.default_allowed_updates: other entries than ours"
    assert await portal() == ("bad", line)
    update["default_allowed_updates"].remove("quantity")
    assert (await portal())[0] == "ok"
    update["products"].pop()
    assert await portal() == ("bad", line.replace("default_allowed_updates", "products"))
    price(installation, "skai_enterprise_month")["active"] = False
    states = {each.subject: each.message for each in await examine(read_settings(installation.environ), Options())}
    assert states["stripe portal skai"] == "is brought up to date at the next visit"


# LiteLLM


async def provisioned(installation: Running, user_id: str = "ada") -> None:
    """The first request of a user: LiteLLM receives the first tier's limits."""
    token = session_token(SESSION_SECRET, user_id, int(time.time()))
    status, _, _ = await installation.gate(Cookie=f"token={token}")
    assert status == 200

    async def known() -> bool:
        found = await installation.admin("POST", "/admin/examine")
        return bool(found[1]["provisioned"])

    await until(known, "LiteLLM has the limits")


async def test_limits_are_read_back(installation: Running) -> None:
    # The budget that unknown customers fall into is there from the start.
    assert (await findings(installation, "litellm limits")) == [("ok", "1 read back, as apps.json has them")]
    await provisioned(installation)
    assert (await findings(installation, "litellm limits")) == [("ok", "2 read back, as apps.json has them")]
    budget = installation.litellm.state.budgets["skai.free"]
    budget.budget_duration = "7d"
    difference = "budget_duration: expected '1d', LiteLLM has '7d'"
    assert (await findings(installation, "litellm limits")) == [
        ("warning", f"the budget skai.free: {difference}"),
        ("warning", f"skai/ada (free): {difference}"),
    ]
    budget.budget_duration, budget.max_budget = "1d", 100.0
    assert [state for state, _ in await findings(installation, "litellm limits")] == ["bad", "bad"]
    installation.litellm.state.customers.clear()
    budget.max_budget = 1.0
    assert (await findings(installation, "litellm limits")) == [("bad", "LiteLLM does not know skai/ada (free)")]


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/user/update", 403, [("ok", "ready, with its database"), ("bad", "our key may not call /user/update")]),
        ("/customer/list", 401, [("ok", "ready, with its database"), ("bad", "our key may not call /customer/list")]),
        ("/budget/info", 401, [("ok", "ready, with its database"), ("bad", "LiteLLM does not accept our key")]),
    ],
)
async def test_missing_rights_of_litellms_key_are_reported(
    installation: Running, path: str, status: int, expected: list[tuple[str, str]]
) -> None:
    fault = SimpleNamespace(kind="status", path=path, times=99, status=status, message="no", seconds=0.0)
    installation.litellm.faults.add(fault)  # type: ignore[arg-type]  # as a Fault
    assert await findings(installation, "litellm") == expected


async def test_the_checks_change_nothing_at_litellm(installation: Running) -> None:
    state = installation.litellm.state
    await findings(installation, "litellm")  # the proof of enforcement makes its customer, once
    before = copy.deepcopy((state.users, state.customers, state.budgets))
    assert list(before[1]) == ["skpay-doctor-skai"]
    await findings(installation, "litellm")
    assert (state.users, state.customers, state.budgets) == before
    assert {entry["status"] for entry in installation.litellm.requests if entry["method"] == "POST"} <= {
        200,
        400,
        404,
        422,
        429,
    }


async def test_litellms_database_is_away(installation: Running) -> None:
    fault = SimpleNamespace(kind="database", path="/health", times=9, status=500, message="", seconds=0.0)
    installation.litellm.faults.add(fault)  # type: ignore[arg-type]  # as a Fault
    ((state, message),) = await findings(installation, "litellm")
    assert (state, message.startswith("LiteLLM is not ready.")) == ("bad", True)


async def test_limits_that_litellm_enforces_are_proved_with_a_call(installation: Running) -> None:
    expected = ("ok", "skai: a call of a user without requests was refused (customer)")
    assert await findings(installation, "litellm enforcement") == [expected]


async def test_a_mapping_that_litellm_lost_is_bad_although_every_limit_is_as_it_should_be(
    installation: Running,
) -> None:
    installation.litellm.state.header_role = "internal_user"
    ((state, message),) = await findings(installation, "litellm enforcement")
    assert state == "bad"
    assert message.startswith("skai: LiteLLM does not enforce limits (customer)")


async def test_without_the_apps_key_the_finding_is_not_proven(installation: Running) -> None:
    write_apps(installation.folder)
    await installation.application.reload()
    expected = ("warning", "skai: not proven that LiteLLM enforces its limits: no shared_key")
    assert await findings(installation, "litellm enforcement") == [expected]


async def test_a_key_without_owner_proves_nothing(installation: Running) -> None:
    change = {"shared_key": "env:SESSION_SECRET"}
    write_apps(installation.folder, lambda apps: apps["apps"][0]["litellm"].update(change))
    await installation.application.reload()
    ((state, message),) = await findings(installation, "litellm enforcement")
    assert state == "warning"
    assert "401" in message


# Open WebUI


@pytest.mark.parametrize("form", ["{}", "token={}", "Cookie: a=b; token={}", "  token={}\n"])
async def test_a_real_cookie_shows_that_the_secret_is_right(installation: Running, form: str) -> None:
    cookie = form.format(session_token(SESSION_SECRET, "ada", int(time.time())))
    assert await findings(installation, "open webui", cookie) == [
        ("ok", "the gate knows the cookie's owner: ada, on free")
    ]


async def test_a_cookie_with_a_wrong_secret_or_expired_is_reported(installation: Running) -> None:
    now = int(time.time())
    foreign = session_token("another-secret-of-32-bytes-or-more", "ada", now)
    ((state, message),) = await findings(installation, "open webui", foreign)
    assert (state, message) == ("bad", "the gate refuses the cookie: the token's signature does not verify")
    old = session_token(SESSION_SECRET, "ada", now - 90 * 86400)
    ((state, message),) = await findings(installation, "open webui", old)
    assert (state, message) == ("bad", "the gate refuses the cookie: the session has expired")


@pytest.mark.parametrize(
    ("answer", "reported"),
    [({"status": True}, None), ({"detail": "Not found"}, "200"), ([], "200"), ("<html>", "no JSON")],
)
async def test_open_webui_is_checked_at_the_url_of_introspection(
    installation: Running, answer: object, reported: str | None
) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)

    other = web.Application()
    other.router.add_get("/health", say)
    async with served(other) as url:

        def introspect(tree: dict[str, Any]) -> None:
            tree["apps"][0]["identity"][0].update(introspect=url)
            tree["apps"][0]["litellm"].update(shared_key="env:LITELLM_KEY")

        write_apps(installation.folder, introspect)

        async def is_served() -> bool:
            return f"introspect='{url}'" in str(
                installation.application.parts.billing.apps.catalog.apps["skai"].identity[0]
            )

        await until(is_served, "the edit is served")
        expected = f"{url} answers {reported}, and not as Open WebUI" if reported else f"{url} answers"
        assert await findings(installation, "open webui skai") == [("bad" if reported else "ok", expected)]
    down = f"{url} answers nothing (ClientConnectorError), and not as Open WebUI"
    assert await findings(installation, "open webui skai") == [("bad", down)]


# The machine


@pytest.mark.parametrize(("free", "state"), [(50 * 2**20, "bad"), (500 * 2**20, "warning"), (5 * 2**30, "ok")])
async def test_disk_space(installation: Running, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=2**40))
    assert await findings(installation, "disk") == [(state, f"{free // 2**20} MiB free at {installation.folder}")]


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (9, "ok"), (12, "warning"), (-60, "warning"), (200, "bad"), (-400, "bad")]
)
@pytest.mark.parametrize("measured", [True, False])
async def test_the_clock_beside_stripes(installation: Running, ahead: int, state: str, measured: bool) -> None:
    """Whether the server has called Stripe since its start or not."""
    installation.stripe.state.wall = lambda: time.time() - ahead
    transport = installation.application.parts.billing.stripe.transport
    for _ in range(20):  # an answer to a call of the start may still arrive and bring the former time
        transport.clock_ahead_seconds = None
        if measured:
            await transport.get("/v1/prices", {"limit": 1})
        ((got, message),) = await findings(installation, "clock")
        skew = transport.clock_ahead_seconds
        if (skew is None) if not measured else (skew is not None and abs(skew - ahead) <= 5):
            break
    assert got == state
    if state != "ok":
        assert abs(int(message.split()[0]) - abs(ahead)) <= 5  # a busy machine answers late
        assert (" ahead of " in message) == (ahead > 0)
        assert ("refused" in message) == (state == "bad")


async def test_a_database_that_takes_no_write(installation: Running) -> None:
    locked = sqlite3.connect(installation.folder / "skpayments.db", isolation_level=None)
    try:
        locked.execute("BEGIN EXCLUSIVE")
        found = await examine(read_settings(installation.environ), Options())
    finally:
        locked.close()
    wrong = [(each.state, each.subject, each.message) for each in found if each.subject in ("database", "server")]
    assert ("bad", "database", "cannot be written") in wrong


async def test_only_the_operator_gets_the_report(installation: Running) -> None:
    for path in ("/admin/examine", "/admin/portals/push"):
        assert (await installation.json("POST", path, "wrong"))[0] == 401
    status, answer = await installation.json("POST", "/admin/examine", ADMIN_TOKEN)
    assert status == 200
    assert {"at", "disk", "write_seconds", "portals", "provisioned"} <= set(answer)

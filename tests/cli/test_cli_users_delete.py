"""`skpay users delete`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from cli_result import Skpay
from servers.running import SKAI_KEY, Running

from gateway.store import Store, customers, tombstones


async def eventually(true: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + 10
    while not await true():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


async def bought(running: Running, user_id: str) -> str:
    """Somebody who pays, known to LiteLLM, with a key of their own that works at the gate; the key."""
    _, answer = await running.json("POST", "/checkout/skai", json={"user_id": user_id, "tier": "pro"})
    async with running.session.post(answer["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
        assert paid.status == 303

    async def known() -> bool:
        tier = (await running.json("GET", f"/status/skai/{user_id}"))[1]["tier"]
        return tier == "pro" and user_id in running.litellm.state.customers

    await eventually(known, "the purchase arrives")
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": user_id})
    return str(made["key"])


async def test_a_person_is_shown_first_and_forgotten_when_confirmed(skpay: Skpay, running: Running) -> None:
    key = await bought(running, "ada")
    status, headers, _ = await running.gate("/", Authorization=f"Bearer {key}")
    assert (status, headers["X-SK-Tier"]) == (200, "pro")

    dry = await skpay("users", "delete", "skai", "ada", env=running.environ)
    assert dry.code == 0, dry
    for text in ("subscription to cancel: sub_", "Stripe customer: cus_", "LiteLLM customer: ada", "keys: 1"):
        assert text in dry.out
    assert "nothing was changed" in dry.out
    assert "ada" in running.litellm.state.customers

    done = await skpay("users", "delete", "skai", "ada", "--yes", env=running.environ)
    assert done.code == 0, done
    assert "ada of skai is deleted" in done.out
    assert [each["status"] for each in running.stripe.state.all("subscription")] == ["canceled"]
    assert "ada" not in running.litellm.state.customers
    _, headers, _ = await running.gate("/", Authorization=f"Bearer {key}")
    assert "X-SK-User" not in headers  # the key is nobody's

    async def events_are_over() -> bool:
        return running.stripe.deliveries.idle and await quiet(running)

    await eventually(events_are_over, "the late events are handled")
    assert (await running.json("GET", "/status/skai/ada"))[1]["stripe_customer_id"] is None
    assert "ada" not in running.litellm.state.customers
    second = await skpay("users", "delete", "skai", "ada", "--yes", env=running.environ)
    assert (second.code, "keys: 0" in second.out) == (0, True)
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "ada"})
    _, headers, _ = await running.gate("/", Authorization=f"Bearer {made['key']}")
    assert (headers["X-SK-User"], headers["X-SK-Tier"]) == ("ada", "free")  # the gate remembers no tier of theirs


async def quiet(running: Running) -> bool:
    _, text = await running.admin("GET", "/admin/events")
    return all(each["state"] != "waiting" for each in text["events"])


async def test_it_works_while_no_server_runs(skpay: Skpay, running: Running) -> None:
    await bought(running, "ada")
    await running.application.stop()
    dry = await skpay("users", "delete", "skai", "ada", env=running.environ)
    assert "Stripe customer: cus_" in dry.out
    done = await skpay("users", "delete", "skai", "ada", "--yes", env=running.environ)
    assert done.code == 0, done
    assert "ada" not in running.litellm.state.customers
    store = Store.open(running.environ["DATABASE_URL"])
    assert store.read_now(lambda conn: customers.of_user(conn, "skai", "ada")) == []
    assert store.read_now(lambda conn: tombstones.user_forgotten_at(conn, "skai", "ada")) is not None
    store.close_now()


async def test_an_unknown_app_is_reported(skpay: Skpay, running: Running) -> None:
    result = await skpay("users", "delete", "nowhere", "ada", env=running.environ)
    assert (result.code, "nowhere" in result.err) == (2, True)


async def test_an_apps_key_cannot_delete_a_user(running: Running) -> None:
    status, _ = await running.json("DELETE", "/admin/users/skai/ada", SKAI_KEY)
    assert status == 401

"""`skpay users move`."""

from __future__ import annotations

from cli_result import Skpay
from servers.running import Running
from test_cli_users_delete import bought, eventually


async def test_a_payers_key_and_tier_are_the_new_ids_at_the_running_gate(skpay: Skpay, running: Running) -> None:
    key = await bought(running, "ada")
    result = await skpay("users", "move", "skai", "ada", "ada-2", env=running.environ)
    assert result.code == 0, result
    assert "ada of skai is ada-2 now, with the tier pro" in result.out
    status, headers, _ = await running.gate("/", Authorization=f"Bearer {key}")
    assert (status, headers["X-SK-User"], headers["X-SK-Tier"]) == (200, "ada-2", "pro")
    assert (await running.json("GET", "/status/skai/ada"))[1]["tier"] == "free"

    async def limited() -> bool:
        budgets = {name: each.budget_id for name, each in running.litellm.state.customers.items()}
        return (budgets.get("ada"), budgets.get("ada-2")) == ("skai.free", "skai.pro")

    await eventually(limited, "LiteLLM has the limits of both")


async def test_two_payers_are_not_made_one(skpay: Skpay, running: Running) -> None:
    await bought(running, "ada")
    await bought(running, "bob")
    result = await skpay("users", "move", "skai", "ada", "bob", env=running.environ)
    assert (result.code, "Both pay" in result.err) == (2, True)


async def test_an_unknown_user_is_reported(skpay: Skpay, running: Running) -> None:
    result = await skpay("users", "move", "skai", "nobody", "bob", env=running.environ)
    assert (result.code, "nothing to move" in result.err) == (2, True)


async def test_without_a_server_the_command_does_it_itself(skpay: Skpay, running: Running) -> None:
    await bought(running, "ada")
    await running.application.stop()
    result = await skpay("users", "move", "skai", "ada", "ada-2", env=running.environ)
    assert (result.code, "with the tier pro" in result.out) == (0, True)

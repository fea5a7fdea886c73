"""The API for app backends: checkout, portal, status, explain; and the public routes."""

from __future__ import annotations

from servers.running import ADMIN_TOKEN, BLOG_KEY, SKAI_KEY, Running
from servers.traefik import until
from yarl import URL

USER_IDS = [
    "u1", "a/b", "a%2Fb", "ünï", "日本語", "a b", "{x}", "..", ".", "a?b#c", "a+b", "%", "%41", "co:skai:u",
    "\N{GRINNING FACE}", "x" * 200,
]  # fmt: skip


def quoted(user_id: str) -> str:
    return "".join(f"%{byte:02X}" for byte in user_id.encode())


async def test_a_checkout_answers_with_stripes_page(running: Running) -> None:
    status, answer = await running.json("POST", "/checkout/skai", json={"user_id": "u1", "tier": "pro"})
    assert (status, answer["kind"]) == (200, "checkout")
    assert answer["checkout_url"].startswith(running.stripe.public_url)
    assert set(answer) == {"checkout_url", "kind"}


async def test_a_repeated_checkout_returns_the_same_page(running: Running) -> None:
    body = {"user_id": "u1", "email": "ada@example.com", "tier": "pro", "interval": "month"}
    assert await running.json("POST", "/checkout/skai", json=body) == await running.json(
        "POST", "/checkout/skai", json=body
    )


async def test_the_portal_is_not_found_before_the_first_checkout_and_opens_after_it(running: Running) -> None:
    status, answer = await running.json("POST", "/portal/skai", json={"user_id": "u1"})
    assert (status, answer["error"]) == (404, "no_customer")
    await running.json("POST", "/checkout/skai", json={"user_id": "u1", "tier": "pro"})
    status, answer = await running.json("POST", "/portal/skai", json={"user_id": "u1"})
    assert status == 200
    assert answer["portal_url"].startswith(running.stripe.public_url)


async def test_an_unknown_user_has_the_default_tier_and_nulls(running: Running) -> None:
    status, answer = await running.json("GET", "/status/skai/nobody-yet")
    assert status == 200
    assert answer == {
        "app_id": "skai", "user_id": "nobody-yet", "tier": "free", "stripe_customer_id": None,
        "stripe_subscription_id": None, "status": None, "reason": "default", "source": "default", "until": None,
        "then": [], "ends_at": None, "features": [], "period_end": None, "renews": None, "pending_tier": None,
        "limits": {"max_budget": 1.0, "budget_duration": "1d", "tpm_limit": None, "rpm_limit": 10, "models": None},
    }  # fmt: skip


async def test_a_user_id_in_the_path_comes_through_byte_for_byte(running: Running) -> None:
    for user_id in USER_IDS:
        for route, key in (("status", SKAI_KEY), ("explain", ADMIN_TOKEN)):
            url = URL(f"{running.url}/{route}/skai/{quoted(user_id)}", encoded=True)
            async with running.session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
                assert (answer.status, (await answer.json())["user_id"]) == (200, user_id)


async def test_a_user_id_that_cannot_be_printed_is_refused(running: Running) -> None:
    for path in ("%00", "a%0Ab", "a%0D%0AX-Evil%3A1", "%7F", "x" * 201, "%E2%80%A8"):
        url = URL(f"{running.url}/status/skai/{path}", encoded=True)
        async with running.session.get(url, headers={"Authorization": f"Bearer {SKAI_KEY}"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_user_id"), path


async def test_explain_is_for_the_app_and_for_the_operator(running: Running) -> None:
    for key in (running.environ["SKAI_KEY"], ADMIN_TOKEN):
        status, answer = await running.json("GET", "/explain/skai/u1", key)
        assert (status, answer["changes"], answer["events"], answer["provisioning"]) == (200, [], [], [])
    assert (await running.json("GET", "/explain/skai/u1", BLOG_KEY))[0] == 401


async def test_explain_shows_the_reason_of_the_tier(running: Running) -> None:
    await running.admin("POST", "/admin/grants", {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "a gift"})

    async def raised() -> bool:
        return (await running.json("GET", "/status/skai/u1"))[1]["tier"] == "pro"

    await until(raised, "u1 is pro")
    _, answer = await running.json("GET", "/explain/skai/u1")
    assert [(each["from"], each["to"]) for each in answer["changes"]] == [(None, "pro")]
    assert answer["source"] == "grant"


async def test_health_answers_as_the_images_healthcheck_expects(running: Running) -> None:
    assert await running.json("GET", "/health", None) == (200, {"status": True})


async def test_ready_shows_the_reason_only_to_the_operator(running: Running) -> None:
    running.application._problems["catalog"] = "apps.json: apps: broken"
    assert await running.json("GET", "/ready", None) == (503, {"ready": False, "problems": None})
    assert await running.json("GET", "/ready", "wrong") == (503, {"ready": False, "problems": None})
    result = {"ready": False, "problems": {"catalog": "apps.json: apps: broken"}}
    assert await running.json("GET", "/ready", ADMIN_TOKEN) == (503, result)
    running.application._problems.clear()
    assert await running.json("GET", "/ready", ADMIN_TOKEN) == (200, {"ready": True, "problems": {}})

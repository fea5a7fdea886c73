"""`skpay users list --missing-from`: users here that are no longer in the app, as after a deletion in Open WebUI."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from servers.running import Running
from servers.traefik import until

Skpay = Callable[..., Awaitable[Any]]


@pytest.fixture
async def three_users(skpay: Skpay, running: Running) -> None:
    for user_id in ("u1", "u2", "u3"):
        body = {"app_id": "skai", "user_id": user_id, "tier": "pro", "reason": "x"}
        await running.admin("POST", "/admin/grants", body)

    async def known() -> bool:
        return len(json.loads((await skpay("users", "list", "--json", env=running.environ)).out)) == 3

    await until(known, "three users")


@pytest.mark.parametrize(
    "text",
    [
        "u1\n\n u3 \n",
        json.dumps([{"id": "u1"}, {"id": "u3"}]),
        # As Open WebUI 0.12.4 answers GET /api/v1/users/all.
        json.dumps(
            {"users": [{"id": "u1", "name": "Ada", "email": "a@b.c", "role": "user"}, {"id": "u3"}], "total": 2}
        ),
    ],
)
async def test_users_missing_from_the_file_are_listed(
    skpay: Skpay, running: Running, three_users: None, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    words = ("users", "list", "--app", "skai", "--missing-from", str(file))
    result = await skpay(*words, env=running.environ)
    assert [line.split()[1] for line in result.out.splitlines()[1:]] == ["u2"]
    assert [each["user_id"] for each in json.loads((await skpay(*words, "--json", env=running.environ)).out)] == ["u2"]


@pytest.mark.parametrize(
    ("text", "app", "problem"),
    [
        ("", ("--app", "skai"), "has no user id"),
        ('{"users": []}', ("--app", "skai"), "has no user id"),
        ('{"users": [{"name": "Ada"}]}', ("--app", "skai"), 'expected {"users": [{"id": …}, …]}'),
        ('{"detail": "401 Unauthorized"}', ("--app", "skai"), 'expected {"users": [{"id": …}, …]}'),
        ('{"users": [', ("--app", "skai"), "is not JSON"),
        ("u1\n", (), "--missing-from: give --app too"),
    ],
)
async def test_a_file_that_is_not_a_list_of_users_is_refused(
    skpay: Skpay, running: Running, tmp_path: Path, text: str, app: tuple[str, ...], problem: str
) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    result = await skpay("users", "list", *app, "--missing-from", str(file), env=running.environ)
    assert (result.code, result.out) == (2, "")
    assert problem in result.err


UNKNOWN = [
    (("users", "list", "--app", "nope"), "There is no app 'nope' in apps.json; it has skai, blog"),
    (("users", "list", "--tier", "por"), "No app has the tier 'por'; there are free, pro, enterprise"),
    (("users", "list", "--app", "skai", "--tier", "por"), "No app has the tier 'por'; there are free, pro, enterprise"),
    (("users", "list", "--status", "bogus"), "'bogus' is no status of Stripe's; expected active, trialing"),
    (("notices", "list", "--app", "nope"), "There is no app 'nope' in apps.json; it has skai, blog"),
]


async def test_a_filter_by_an_unknown_app_or_tier_is_refused(skpay: Skpay, running: Running) -> None:
    for words, problem in UNKNOWN:
        result = await skpay(*words, env=running.environ)
        assert (result.code, result.out) == (2, ""), words
        assert problem in result.err


async def test_a_filter_by_an_unknown_app_or_tier_is_refused_without_a_server(
    skpay: Skpay, alone: dict[str, str]
) -> None:
    for words, problem in UNKNOWN:
        result = await skpay(*words, env=alone)
        assert (result.code, result.out) == (2, ""), words
        assert problem in result.err

"""The signed assertion in the gate's answers: its user, how long it is served, when a new one is signed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import jwt
import pytest
from access.access_samples import APP, FREE, NOW, PRO, SECRETS, with_app
from gate.gate_stage import SIGNER, Answer, ask, stage

from gateway.access.app_access import app_access
from gateway.gate.assertions import Assertions

KEY = jwt.PyJWKSet.from_dict(SIGNER.jwks).keys[0]  # type: ignore[arg-type]  # a dict it is
SIGNING = with_app(assertion=True)


def claims(answer: Answer) -> dict[str, object]:
    token = answer.header("X-SK-Assertion")
    assert token is not None
    options = {"verify_exp": False, "verify_iat": False}
    found: dict[str, object] = jwt.decode(token, KEY, algorithms=["ES256"], audience="skai", options=options)
    return found


async def test_an_app_without_it_gets_none() -> None:
    async with stage() as on:
        for uri, user in (("/", "alice"), ("/", None), ("/static/x", "bob"), ("/pro", "bob")):
            assert (await ask(on.port, uri=uri, user=user)).header("X-SK-Assertion") is None


async def test_it_agrees_with_the_tags() -> None:
    async with stage(SIGNING) as on:
        for uri, user in (("/", "alice"), ("/", "bob"), ("/", None), ("/static/x", None), ("/", "Zo\u00eb 100%")):
            answer = await ask(on.port, uri=uri, user=user)
            output, (_, _, tier, features) = claims(answer), answer.tags
            assert (output["aud"], output.get("sub"), output["tier"]) == ("skai", user, tier)
            assert ",".join(output["features"]) == features  # type: ignore[arg-type]  # a list of words
            assert (output["iat"], output["exp"]) == (NOW, NOW + 60)


async def test_a_rejected_credential_on_a_public_path_is_anonymous_in_it() -> None:
    async with stage(SIGNING) as on:
        answer = await ask(on.port, uri="/static/x", more=[("Cookie", "token=forged")])
        assert answer.status == 200
        assert "sub" not in claims(answer)


async def test_no_refusal_carries_one() -> None:
    async with stage(with_app(assertion=True, anonymous="refuse")) as on:
        for changes in ({"uri": "/pro", "user": "bob"}, {"uri": "/"}, {"method": "TRACE"}, {"host": "evil.example"}):
            answer = await ask(on.port, **changes)
            assert answer.status >= 400
            assert answer.header("X-SK-Assertion") is None


async def test_a_downgraded_user_never_gets_the_old_one() -> None:
    async with stage(SIGNING) as on:
        assert claims(await ask(on.port, user="alice"))["tier"] == "pro"
        for tier in ("free", "max", "free"):
            on.table.set("skai", "alice", tier)
            for later in (0, 1, 31, 35):
                on.now = NOW + later
                assert claims(await ask(on.port, user="alice"))["tier"] == tier
            on.now = NOW


async def test_a_reload_signs_with_the_new_tiers() -> None:
    async with stage(SIGNING) as on:
        assert claims(await ask(on.port, user="bob"))["features"] == []
        changed = with_app(assertion=True, tiers=(replace(FREE, features=("beta",)), *APP.tiers[1:]))
        on.gate.install({"skai": app_access(changed, SECRETS, {})}, SIGNER)
        assert claims(await ask(on.port, user="bob"))["features"] == ["beta"]


def issued_at(cache: tuple[bytes, int]) -> int:
    token = cache[0].partition(b": ")[2].strip()
    issued: int = jwt.decode(token, options={"verify_signature": False})["iat"]
    assert cache[1] == issued + 60
    return issued


@pytest.mark.parametrize(
    ("seconds", "served", "next_served"),
    [(0, 0, 0), (29, 0, 0), (30, 0, 0), (31, 0, 31), (40, 0, 40), (41, 41, 41), (3600, 3600, 3600), (-1, -1, -1)],
)
async def test_it_is_served_with_20_s_left_and_renewed_after_30(seconds: int, served: int, next_served: int) -> None:
    cache = Assertions(SIGNER, "skai")
    cache.current(PRO, "alice", NOW)
    assert issued_at(cache.current(PRO, "alice", NOW + seconds)) == NOW + served
    await asyncio.sleep(0)
    assert issued_at(cache.current(PRO, "alice", NOW + seconds)) == NOW + next_served


async def test_many_requests_at_once_renew_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Assertions(SIGNER, "skai")
    cache.current(PRO, "alice", NOW)
    signed = []
    sign = SIGNER.sign
    monkeypatch.setattr(SIGNER, "sign", lambda *result: signed.append(result) or sign(*result))
    for _ in range(50):
        cache.current(PRO, "alice", NOW + 31)
    assert signed == []
    await asyncio.sleep(0)
    cache.current(PRO, "alice", NOW + 31)
    assert len(signed) == 1


async def test_its_cache_is_bounded() -> None:
    cache = Assertions(SIGNER, "skai", max_half=8)
    for number in range(100):
        cache.current(PRO, f"user {number}", NOW)
        assert len(cache) <= 16
    # the last ones are still cached
    first = cache.current(PRO, "user 99", NOW)
    assert cache.current(PRO, "user 99", NOW + 1) is first


async def test_an_app_that_needs_a_signer_cannot_be_installed_without_one() -> None:
    async with stage() as on:
        with pytest.raises(ValueError, match="skai"):
            on.gate.install({"skai": app_access(SIGNING, SECRETS, {})})
        assert (await ask(on.port, user="alice")).status == 200  # and the installed apps still serve

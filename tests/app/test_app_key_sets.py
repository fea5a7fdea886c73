"""An issuer's keys: read at the start, read again for a key that is new, and kept while the issuer is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from access.access_samples import NOW, with_app
from access.oidc_provider import KIND, jwk, key_set, signed
from app.identity_servers import Issuer, in_the_end
from servers.traefik import until

from gateway.access.app_access import AppAccess, app_access
from gateway.access.jwks import KeyRing
from gateway.app import key_sets
from gateway.app.asking import Asking, identity_session
from gateway.catalog.model import Catalog, JwtIdentity, Routing
from gateway.metrics import Registry


@dataclass
class World:
    """An app whose users come from `issuer`, and whatever the gate was told."""

    issuer: Issuer
    url: str
    asking: Asking = None  # type: ignore[assignment]  # set with the rest
    now: float = NOW
    changed: list[str] = field(default_factory=list)
    apps: dict[str, AppAccess] = field(default_factory=dict)

    @property
    def ring(self) -> KeyRing:
        return self.asking.key_sets.ring(self.url)

    def follow(self) -> None:
        """As after a reload with this app, and another that has its users there too."""
        kind = JwtIdentity(KIND.issuer, KIND.audience, self.url, KIND.algorithms, "Authorization", None)
        app = with_app(identity=(kind,))
        self.apps["skai"] = app_access(app, {}, {}, self.apps.get("skai"), self.asking.key_sets.ring)
        self.asking.follow(Catalog({"skai": app, "blog": replace(app, app_id="blog")}, Routing(), "x"))

    async def who(self, token: bytes) -> str:
        identity = self.apps["skai"].identity
        return await in_the_end(self.asking, identity.who({b"Authorization": b"Bearer " + token}, int(self.now)))

    async def until_read(self) -> None:
        async def read() -> bool:
            return self.ring.current

        await until(read, "the keys are read")


@pytest.fixture
async def world(aiohttp_server: Any) -> AsyncIterator[World]:
    issuer = Issuer(document=key_set(jwk("rsa")))
    server = await aiohttp_server(issuer.application())
    made = World(issuer, str(server.make_url("/certs")))
    async with identity_session() as asks:
        made.asking = Asking(
            asks,
            None,
            access=made.apps.get,
            changed=lambda app_id, user_id: made.changed.append(app_id),
            keys_gone=made.changed.append,
            registry=Registry(),
            clock=lambda: made.now,
        )
        yield made
        await made.asking.stop()


async def test_the_keys_are_read_before_anybody_asks(world: World) -> None:
    world.follow()
    await world.until_read()
    assert await world.who(signed()) == "alice"
    assert [path for path, _ in world.issuer.asked] == ["/certs"]


async def test_the_first_of_all_waits_for_the_reading_that_is_under_way(world: World) -> None:
    world.follow()
    assert await asyncio.gather(*(world.who(signed(sub=f"u{number}")) for number in range(20))) == [
        f"u{number}" for number in range(20)
    ]
    assert len(world.issuer.asked) == 1


async def test_a_new_key_is_fetched_for_the_first_token_that_it_signed(world: World) -> None:
    world.follow()
    await world.until_read()
    world.issuer.document = key_set(jwk("rsa"), jwk("rsa-2"))
    assert await world.who(signed("rsa-2")) == "unknown_key"  # the keys were read a moment ago
    world.now += 60
    assert await world.who(signed("rsa-2")) == "alice"
    assert len(world.issuer.asked) == 2
    assert world.changed == []


async def test_t32_a_flood_of_unknown_keys_is_one_request_a_minute(world: World) -> None:
    world.follow()
    await world.until_read()
    for minute in range(1, 4):
        world.now = NOW + 60 * minute
        flood = [signed("rsa-2", header={"kid": f"k{number}"}, iat=None) for number in range(20)]
        assert set(await asyncio.gather(*map(world.who, flood))) == {"unknown_key"}
        assert len(world.issuer.asked) == 1 + minute
    assert await world.who(signed()) == "alice"


async def test_a_key_that_has_gone_takes_along_whom_it_verified(world: World) -> None:
    world.follow()
    await world.until_read()
    assert await world.who(signed()) == "alice"
    world.issuer.document = key_set(jwk("rsa-2"))
    world.now += 60
    assert await world.who(signed("rsa-2", sub="bob")) == "bob"
    assert world.changed == [world.url]  # once, however many apps have their users there
    assert await world.who(signed()) == "unknown_key"


@pytest.mark.parametrize("trouble", [500, 404, 200, "html", "redirect", "huge", "cut"])
async def test_while_the_issuer_is_away_its_keys_still_verify(world: World, trouble: int | str) -> None:
    world.follow()
    await world.until_read()
    world.issuer.trouble = trouble
    world.now += 60
    assert await world.who(signed("rsa-2")) == "unavailable"
    asked = len(world.issuer.asked)
    assert await world.who(signed("rsa-2")) == "unavailable"
    assert len(world.issuer.asked) == asked
    assert await world.who(signed()) == "alice"
    assert world.asking.key_sets.problems() == {f"keys of {world.url}": "could not be read again"}
    assert world.changed == []


async def test_a_slow_issuer_keeps_nobody_waiting_for_long(world: World) -> None:
    world.issuer.trouble = "slow"
    world.follow()
    started = time.monotonic()
    assert await world.who(signed()) == "unavailable"
    assert time.monotonic() - started < 2
    assert len(world.issuer.asked) == 1
    assert world.asking.key_sets.problems() == {f"keys of {world.url}": "not read yet"}


async def test_an_issuer_that_was_away_at_the_start_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "backoff_seconds", lambda failures: 0.01)
    world.issuer.trouble = 500
    world.follow()

    async def tried() -> bool:
        return len(world.issuer.asked) > 2

    await until(tried, "it is tried again")
    assert await world.who(signed()) == "unavailable"
    world.issuer.trouble = ""
    await world.until_read()
    assert await world.who(signed()) == "alice"
    assert world.asking.key_sets.problems() == {}


async def test_a_reading_for_a_strangers_token_that_fails_is_made_good_without_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else anybody could have an hour of "not ready" for a moment in which the issuer does not answer."""
    monkeypatch.setattr(key_sets, "LOOK_SECONDS", 0.02)
    world.follow()
    await world.until_read()
    world.issuer.trouble = 500
    world.now += 60
    assert await world.who(signed("rsa-2")) == "unavailable"
    assert world.asking.key_sets.problems() != {}
    world.issuer.trouble = ""
    await world.until_read()
    assert world.asking.key_sets.problems() == {}


async def test_a_reload_reads_the_same_address_no_second_time_and_forgets_one_that_is_not_named(world: World) -> None:
    world.follow()
    await world.until_read()
    assert await world.who(signed()) == "alice"
    ring = world.ring
    world.follow()
    assert world.ring is ring
    assert await world.who(signed()) == "alice"
    assert len(world.issuer.asked) == 1
    world.asking.follow(Catalog({}, Routing(), "x"))
    assert world.ring is not ring
    world.follow()
    await world.until_read()
    assert len(world.issuer.asked) == 2

"""An issuer's keys: read at the start, read again for a key that is new, and kept while the issuer is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from access.access_samples import NOW, with_app
from access.oidc_provider import KIND, jwk, key_set, signed
from app.identity_servers import Issuer, resolved_identity
from servers.stopwatch import stopwatch
from servers.traefik import until

from gateway.access.app_access import AppAccess, app_access
from gateway.access.jwks import KeyRing
from gateway.app import key_sets
from gateway.app.credential_resolver import CredentialResolver, identity_session
from gateway.catalog.identity import JwtIdentity
from gateway.catalog.model import Catalog, Routing
from gateway.metrics import Registry


@dataclass
class Harness:
    """An app whose users come from `issuer`, and the changes reported to the gate."""

    issuer: Issuer
    url: str
    resolver: CredentialResolver = None  # type: ignore[assignment]  # set with the rest
    now: float = NOW
    changed: list[str] = field(default_factory=list)
    apps: dict[str, AppAccess] = field(default_factory=dict)

    @property
    def ring(self) -> KeyRing:
        return self.resolver.key_sets.ring(self.url)

    def follow(self) -> None:
        """As after a reload with this app, and another that has its users there too."""
        kind = JwtIdentity(KIND.issuer, KIND.audience, self.url, KIND.algorithms, "Authorization", None)
        app = with_app(identity=(kind,))
        self.apps["skai"] = app_access(app, {}, {}, self.apps.get("skai"), self.resolver.key_sets.ring)
        self.resolver.follow(Catalog({"skai": app, "blog": replace(app, app_id="blog")}, Routing(), "x"))

    async def authenticate(self, token: bytes) -> str:
        identity = self.apps["skai"].identity
        return await resolved_identity(
            self.resolver, identity.authenticate({b"Authorization": b"Bearer " + token}, int(self.now))
        )

    async def until_read(self) -> None:
        async def read() -> bool:
            return self.ring.current

        await until(read, "the keys are read")


@pytest.fixture
async def harness(aiohttp_server: Any) -> AsyncIterator[Harness]:
    issuer = Issuer(document=key_set(jwk("rsa")))
    server = await aiohttp_server(issuer.application())
    made = Harness(issuer, str(server.make_url("/certs")))
    async with identity_session() as asks:
        made.resolver = CredentialResolver(
            asks,
            None,
            access=made.apps.get,
            changed=lambda app_id, user_id: made.changed.append(app_id),
            keys_removed=made.changed.append,
            registry=Registry(),
            clock=lambda: made.now,
        )
        yield made
        await made.resolver.stop()


async def test_the_keys_are_read_before_the_first_request(harness: Harness) -> None:
    harness.follow()
    await harness.until_read()
    assert await harness.authenticate(signed()) == "alice"
    assert [path for path, _ in harness.issuer.requests] == ["/certs"]


async def test_the_first_of_all_waits_for_the_reading_that_is_under_way(harness: Harness) -> None:
    harness.follow()
    assert await asyncio.gather(*(harness.authenticate(signed(sub=f"u{number}")) for number in range(20))) == [
        f"u{number}" for number in range(20)
    ]
    assert len(harness.issuer.requests) == 1


async def test_a_new_key_is_fetched_for_the_first_token_that_it_signed(harness: Harness) -> None:
    harness.follow()
    await harness.until_read()
    harness.issuer.document = key_set(jwk("rsa"), jwk("rsa-2"))
    assert await harness.authenticate(signed("rsa-2")) == "unknown_key"  # the keys were read a moment ago
    harness.now += 60
    assert await harness.authenticate(signed("rsa-2")) == "alice"
    assert len(harness.issuer.requests) == 2
    assert harness.changed == []


async def test_t32_a_flood_of_unknown_keys_is_one_request_a_minute(harness: Harness) -> None:
    harness.follow()
    await harness.until_read()
    for minute in range(1, 4):
        harness.now = NOW + 60 * minute
        flood = [signed("rsa-2", header={"kid": f"k{number}"}, iat=None) for number in range(20)]
        assert set(await asyncio.gather(*map(harness.authenticate, flood))) == {"unknown_key"}
        assert len(harness.issuer.requests) == 1 + minute
    assert await harness.authenticate(signed()) == "alice"


async def test_removing_a_key_invalidates_the_tokens_that_it_verified(harness: Harness) -> None:
    harness.follow()
    await harness.until_read()
    assert await harness.authenticate(signed()) == "alice"
    harness.issuer.document = key_set(jwk("rsa-2"))
    harness.now += 60
    assert await harness.authenticate(signed("rsa-2", sub="bob")) == "bob"
    assert harness.changed == [harness.url]  # once, however many apps have their users there
    assert await harness.authenticate(signed()) == "unknown_key"


@pytest.mark.parametrize("fault", [500, 404, 200, "html", "redirect", "huge", "cut"])
async def test_while_the_issuer_is_away_its_keys_still_verify(harness: Harness, fault: int | str) -> None:
    harness.follow()
    await harness.until_read()
    harness.issuer.fault = fault
    harness.now += 60
    assert await harness.authenticate(signed("rsa-2")) == "unavailable"
    requests = len(harness.issuer.requests)
    assert await harness.authenticate(signed("rsa-2")) == "unavailable"
    assert len(harness.issuer.requests) == requests
    assert await harness.authenticate(signed()) == "alice"
    assert harness.resolver.key_sets.problems() == {f"keys of {harness.url}": "could not be refreshed"}
    assert harness.changed == []


async def test_a_slow_issuer_delays_a_request_only_briefly(harness: Harness) -> None:
    harness.issuer.fault = "slow"
    harness.follow()
    async with stopwatch() as watch:
        assert await harness.authenticate(signed()) == "unavailable"
        assert watch.seconds < 2
    assert len(harness.issuer.requests) == 1
    assert harness.resolver.key_sets.problems() == {f"keys of {harness.url}": "not read yet"}


async def test_an_issuer_unavailable_at_the_start_is_retried(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sets, "backoff_seconds", lambda failures: 0.01)
    harness.issuer.fault = 500
    harness.follow()

    async def tried() -> bool:
        return len(harness.issuer.requests) > 2

    await until(tried, "it is tried again")
    assert await harness.authenticate(signed()) == "unavailable"
    harness.issuer.fault = ""
    await harness.until_read()
    assert await harness.authenticate(signed()) == "alice"
    assert harness.resolver.key_sets.problems() == {}


async def test_a_failed_read_for_an_unknown_key_is_retried_without_another_request(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else anybody could have an hour of "not ready" for a moment in which the issuer does not answer."""
    monkeypatch.setattr(key_sets, "LOOK_SECONDS", 0.02)
    harness.follow()
    await harness.until_read()
    harness.issuer.fault = 500
    harness.now += 60
    assert await harness.authenticate(signed("rsa-2")) == "unavailable"
    assert harness.resolver.key_sets.problems() != {}
    harness.issuer.fault = ""
    await harness.until_read()
    assert harness.resolver.key_sets.problems() == {}


async def test_a_reload_reads_the_same_address_no_second_time_and_forgets_one_that_is_not_named(
    harness: Harness,
) -> None:
    harness.follow()
    await harness.until_read()
    assert await harness.authenticate(signed()) == "alice"
    ring = harness.ring
    harness.follow()
    assert harness.ring is ring
    assert await harness.authenticate(signed()) == "alice"
    assert len(harness.issuer.requests) == 1
    harness.resolver.follow(Catalog({}, Routing(), "x"))
    assert harness.ring is not ring
    harness.follow()
    await harness.until_read()
    assert len(harness.issuer.requests) == 2

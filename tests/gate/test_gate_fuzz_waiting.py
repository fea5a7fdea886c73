"""Requests that wait for a lookup and requests that do not, on the same connections: each gets its own answer."""

from __future__ import annotations

import asyncio
import random

import pytest
from gate.gate_stage import exchange, head, raw, stage
from gate.test_gate_fuzz import cut
from gate.test_gate_waiting import INTROSPECTED

from gateway.access.authentication import AuthenticatedUser, CredentialLookup, RejectedCredential
from gateway.errors import UpstreamFailed
from gateway.gate import forward_auth

CONNECTIONS, REQUESTS = 40, 16
# Keys as Open WebUI makes them, and what is heard of each.
NAMES = {f"sk-{number:032x}": name for number, name in enumerate(("bob", "carol", "dave", "refused", "broken"))}
KEYS = {name: key for key, name in NAMES.items()}
# What is sent, and the answer: status and the user it names.
PEOPLE: list[tuple[list[tuple[str, str]], tuple[int, str | None]]] = [
    ([], (200, None)),
    ([("Authorization", "Bearer skp_alice")], (200, "alice")),
    ([("Authorization", "Bearer skp_nobody")], (401, None)),
    ([("Authorization", f"Bearer {KEYS['bob']}")], (200, "bob")),
    ([("Authorization", f"Bearer {KEYS['carol']}")], (200, "carol")),
    ([("X-Api-Key", KEYS["dave"]), ("X-Odd", "1")], (200, "dave")),
    ([("Authorization", f"Bearer {KEYS['refused']}")], (401, None)),
    ([("Authorization", f"Bearer {KEYS['broken']}")], (503, None)),
]


async def test_each_request_gets_its_own_answer_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_auth, "LOOKUP_TIMEOUT_SECONDS", 60)  # a busy machine must not end a lookup
    chance = random.Random(11)  # noqa: S311  # the order of the users, and how long each answer takes

    async def resolve(app_id: str, ask: CredentialLookup) -> AuthenticatedUser | RejectedCredential:
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
        name = NAMES[str(ask.credential, "ascii")]
        if name == "broken":
            raise UpstreamFailed("the other one")
        return (
            RejectedCredential("unknown_key", "no", "authorization")
            if name == "refused"
            else AuthenticatedUser(name, None)
        )

    async def one(port: int) -> None:
        chosen = [chance.choice(PEOPLE) for _ in range(REQUESTS)]
        stream = b"".join(raw(head(more=sent)) for sent, _ in chosen)
        pieces = cut(stream, [chance.randrange(len(stream)) for _ in range(chance.randrange(8))])
        answers = await exchange(port, *pieces, answers=REQUESTS)
        assert [(answer.status, answer.header("X-SK-User")) for answer in answers] == [due for _, due in chosen]

    async with stage(INTROSPECTED, resolve=resolve) as on:
        for _ in range(5):
            await asyncio.gather(*(one(on.port) for _ in range(CONNECTIONS)))
        assert on.listener.failed.value == 0

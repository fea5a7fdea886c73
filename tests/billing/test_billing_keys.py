"""API keys: shown once, stored as a hash, compared in constant time."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import pytest
from servers.harness import Harness

from gateway.access.keys import key_hash
from gateway.billing.accounts.keys import check_app_key, create_key
from gateway.errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from gateway.store import keys
from gateway.store.keys import Key


async def created(harness: Harness, app_id: str = "skai", user_id: str | None = None) -> tuple[Key, str]:
    now = harness.billing.work.now()
    return await harness.store.write(
        lambda conn: create_key(conn, harness.billing.apps.catalog, app_id, user_id, "ci", now)
    )


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_only_the_hash_of_a_key_is_at_rest(harness: Harness, tmp_path: Path) -> None:
    key, text = await created(harness)
    assert text.startswith("ska_")
    assert len(text) == 47
    assert key.key_hash == hashlib.sha256(text.encode()).digest()
    await harness.store.close()
    written = everything_in(tmp_path)
    assert key.key_hash in written
    assert text.encode() not in written
    assert text[4:].encode() not in written


async def test_a_users_key_has_a_kind_an_app_and_a_user(harness: Harness) -> None:
    key, text = await created(harness, user_id="u1")
    assert text.startswith("skp_")
    assert (key.kind, key.app_id, key.user_id) == ("user", "skai", "u1")


async def test_no_two_keys_are_alike(harness: Harness) -> None:
    texts = {(await created(harness, user_id="u1"))[1] for _ in range(5)}
    assert len(texts) == 5


async def test_two_keys_of_an_app_are_valid_at_once_and_a_third_is_refused(harness: Harness) -> None:
    first, _ = await created(harness)
    await created(harness)
    with pytest.raises(Conflict):
        await created(harness)
    await harness.store.write(lambda conn: keys.revoke(conn, first.key_id, harness.billing.work.now()))
    await created(harness)
    assert len(await harness.query(keys.live)) == 2


@pytest.mark.parametrize(
    ("app_id", "user_id", "error"),
    [("nobody", None, NotFound), ("skai", "", InvalidInput), ("skai", "a\r\nb", InvalidInput)],
)
async def test_a_key_without_a_valid_owner_is_refused(
    harness: Harness, app_id: str, user_id: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await created(harness, app_id, user_id)
    assert await harness.query(keys.all_) == []


def test_a_right_key_passes_and_only_for_its_app(harness: Harness) -> None:
    harness.billing.apps.key_hashes = {
        "skai": (key_hash("ska_old"), key_hash("ska_new")),
        "studio": (key_hash("ska_other"),),
    }
    check_app_key(harness.billing.apps, "skai", "ska_old")
    check_app_key(harness.billing.apps, "skai", "ska_new")
    for app_id, text in [("skai", "ska_other"), ("studio", "ska_old"), ("skai", ""), ("skai", "ska_ol")]:
        with pytest.raises(NotAuthenticated):
            check_app_key(harness.billing.apps, app_id, text)


def test_an_unknown_app_is_refused_in_the_same_words_as_a_wrong_key(harness: Harness) -> None:
    harness.billing.apps.key_hashes = {"skai": (key_hash("ska_right"),)}
    refusals = set()
    for app_id in ("skai", "studio", "nobody"):
        with pytest.raises(NotAuthenticated) as refused:
            check_app_key(harness.billing.apps, app_id, "ska_wrong")
        refusals.add((refused.value.code, refused.value.message, refused.value.detail))
    assert len(refusals) == 1


@pytest.mark.parametrize("text", ["\udcff\udcfe", "\ud800", "é", "\x00", "x" * 10_000])
def test_whatever_stands_in_a_header_is_a_wrong_key_and_no_crash(harness: Harness, text: str) -> None:
    harness.billing.apps.key_hashes = {"skai": (key_hash("ska_right"),)}
    with pytest.raises(NotAuthenticated):
        check_app_key(harness.billing.apps, "skai", text)


def test_every_key_is_compared_in_constant_time(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first match ends nothing early, and no byte is compared by `==`."""
    compared: list[bytes] = []
    real = secrets.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return real(one, other)

    monkeypatch.setattr("gateway.billing.accounts.keys.secrets.compare_digest", compare)
    hashes = tuple(key_hash(text) for text in ("ska_a", "ska_b", "ska_c"))
    harness.billing.apps.key_hashes = {"skai": hashes}
    check_app_key(harness.billing.apps, "skai", "ska_a")
    assert compared == list(hashes)


async def test_the_gate_and_the_api_find_a_key_by_the_same_hash(harness: Harness) -> None:
    made = {}
    for user_id in (None, "u1"):
        key, text = await harness.store.write(
            lambda conn, user_id=user_id: create_key(conn, harness.billing.apps.catalog, "skai", user_id, "", 100)
        )
        assert key.key_hash == key_hash(text) == key_hash(text.encode().decode("latin-1"))
        made[key.kind] = text
    assert made["app"].startswith("ska_")
    assert made["user"].startswith("skp_")


@pytest.mark.parametrize("text", ["ska_\udc80", "ska_ü", ""])
def test_any_text_of_a_header_has_a_hash(text: str) -> None:
    assert len(key_hash(text)) == 32

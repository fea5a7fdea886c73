"""What the world must still be told."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import outbox


def _put(conn: Connection, payload: dict[str, object], now: int = 100, kind: str = "litellm") -> int:
    return outbox.put(conn, kind, "skai", "u1", payload, now)


def _only(conn: Connection) -> outbox.Wish:
    [wish] = outbox.of_user(conn, "skai", "u1")
    return wish


def test_a_wish_is_due_at_once(conn: Connection) -> None:
    wish_id = _put(conn, {"tier": "pro", "budget": None, "models": ["a", "é"]})
    [wish] = outbox.due(conn, 100, 10)
    assert (wish.wish_id, wish.kind, wish.app_id, wish.user_id) == (wish_id, "litellm", "skai", "u1")
    assert wish.payload == {"tier": "pro", "budget": None, "models": ["a", "é"]}
    assert (wish.version, wish.attempts, wish.state, wish.answer) == (1, 0, "waiting", None)
    assert outbox.due(conn, 99, 10) == []


def test_the_latest_wish_replaces_the_one_before(conn: Connection) -> None:
    wish_id = _put(conn, {"tier": "pro"})
    outbox.retry(conn, wish_id, 1, 900, "LiteLLM is down")
    assert _put(conn, {"tier": "free"}, now=200) == wish_id
    [wish] = outbox.due(conn, 200, 10)
    assert (wish.payload, wish.version, wish.attempts, wish.error) == ({"tier": "free"}, 2, 0, "")


def test_wishes_of_other_kinds_and_users_stand_beside_each_other(conn: Connection) -> None:
    wishes = {_put(conn, {}), _put(conn, {}, kind="notice"), outbox.put(conn, "litellm", "skai", "u2", {}, 100)}
    assert len(wishes) == 3
    assert [wish.kind for wish in outbox.of_user(conn, "skai", "u1")] == ["litellm", "notice"]


def test_a_wish_done_is_not_due_and_keeps_its_answer(conn: Connection) -> None:
    wish_id = _put(conn, {})
    outbox.done(conn, wish_id, 1, {"max_budget": 10.0}, 150)
    assert outbox.due(conn, 1000, 10) == []
    wish = _only(conn)
    assert (wish.state, wish.answer, wish.updated_at) == ("done", {"max_budget": 10.0}, 150)


def test_a_wish_put_again_after_it_was_done_waits_again(conn: Connection) -> None:
    wish_id = _put(conn, {})
    outbox.done(conn, wish_id, 1, {}, 150)
    assert _put(conn, {}, now=200) == wish_id
    assert [wish.version for wish in outbox.due(conn, 200, 10)] == [2]


def test_what_is_said_of_an_older_version_changes_nothing(conn: Connection) -> None:
    wish_id = _put(conn, {"tier": "pro"})
    _put(conn, {"tier": "free"}, now=200)
    before = _only(conn)
    outbox.done(conn, wish_id, 1, {}, 300)
    outbox.retry(conn, wish_id, 1, 900, "late")
    outbox.dead(conn, wish_id, 1, "late", 300)
    assert _only(conn) == before


def test_a_wish_that_failed_is_due_at_its_retry(conn: Connection) -> None:
    wish_id = _put(conn, {})
    outbox.retry(conn, wish_id, 1, 160, "LiteLLM is down")
    assert outbox.due(conn, 159, 10) == []
    [wish] = outbox.due(conn, 160, 10)
    assert (wish.attempts, wish.error) == (1, "LiteLLM is down")


def test_a_dead_wish_waits_for_a_person(conn: Connection) -> None:
    dead, alive = _put(conn, {}), _put(conn, {}, kind="notice")
    outbox.dead(conn, dead, 1, "refused: 400", 150)
    assert [wish.wish_id for wish in outbox.due(conn, 10_000, 10)] == [alive]
    assert outbox.counts(conn) == {"waiting": 1, "done": 0, "dead": 1}
    assert outbox.revive(conn, alive, 200) == 0
    assert outbox.revive(conn, dead, 200) == 1
    assert [(wish.wish_id, wish.attempts) for wish in outbox.due(conn, 200, 10)] == [(alive, 0), (dead, 0)]


def test_all_dead_wishes_are_revived_at_once(conn: Connection) -> None:
    for kind in ("a", "b", "c"):
        wish_id = _put(conn, {}, kind=kind)
        if kind != "c":
            outbox.dead(conn, wish_id, 1, "refused", 150)
    assert outbox.revive(conn, None, 200) == 2
    assert outbox.counts(conn) == {"waiting": 3, "done": 0, "dead": 0}


def test_the_longest_due_come_first_and_no_more_than_asked(conn: Connection) -> None:
    for now, kind in ((103, "c"), (101, "a"), (102, "b")):
        _put(conn, {}, now=now, kind=kind)
    assert [wish.kind for wish in outbox.due(conn, 200, 2)] == ["a", "b"]

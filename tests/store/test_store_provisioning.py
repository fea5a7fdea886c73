"""What the harness must still be told."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import provisioning


def _put(conn: Connection, payload: dict[str, object], now: int = 100, kind: str = "litellm") -> int:
    return provisioning.put(conn, kind, "skai", "u1", payload, now)


def _only(conn: Connection) -> provisioning.ProvisioningJob:
    [job] = provisioning.of_user(conn, "skai", "u1")
    return job


def test_a_wish_is_due_at_once(conn: Connection) -> None:
    job_id = _put(conn, {"tier": "pro", "budget": None, "models": ["a", "é"]})
    [job] = provisioning.due(conn, 100, 10)
    assert (job.job_id, job.kind, job.app_id, job.user_id) == (job_id, "litellm", "skai", "u1")
    assert job.payload == {"tier": "pro", "budget": None, "models": ["a", "é"]}
    assert (job.version, job.attempts, job.state, job.answer) == (1, 0, "waiting", None)
    assert provisioning.due(conn, 99, 10) == []


def test_the_latest_wish_replaces_the_one_before(conn: Connection) -> None:
    job_id = _put(conn, {"tier": "pro"})
    provisioning.retry(conn, job_id, 1, 900, "LiteLLM is down")
    assert _put(conn, {"tier": "free"}, now=200) == job_id
    [job] = provisioning.due(conn, 200, 10)
    assert (job.payload, job.version, job.attempts, job.error) == ({"tier": "free"}, 2, 0, "")


def test_wishes_of_other_kinds_and_users_stand_beside_each_other(conn: Connection) -> None:
    jobs = {_put(conn, {}), _put(conn, {}, kind="notice"), provisioning.put(conn, "litellm", "skai", "u2", {}, 100)}
    assert len(jobs) == 3
    assert [job.kind for job in provisioning.of_user(conn, "skai", "u1")] == ["litellm", "notice"]


def test_a_wish_done_is_not_due_and_keeps_its_answer(conn: Connection) -> None:
    job_id = _put(conn, {})
    provisioning.done(conn, job_id, 1, {"max_budget": 10.0}, 150)
    assert provisioning.due(conn, 1000, 10) == []
    job = _only(conn)
    assert (job.state, job.answer, job.updated_at) == ("done", {"max_budget": 10.0}, 150)


def test_a_wish_put_again_after_it_was_done_waits_again(conn: Connection) -> None:
    job_id = _put(conn, {})
    provisioning.done(conn, job_id, 1, {}, 150)
    assert _put(conn, {}, now=200) == job_id
    assert [job.version for job in provisioning.due(conn, 200, 10)] == [2]


def test_what_is_said_of_an_older_version_changes_nothing(conn: Connection) -> None:
    job_id = _put(conn, {"tier": "pro"})
    _put(conn, {"tier": "free"}, now=200)
    before = _only(conn)
    provisioning.done(conn, job_id, 1, {}, 300)
    provisioning.retry(conn, job_id, 1, 900, "late")
    provisioning.dead(conn, job_id, 1, "late", 300)
    assert _only(conn) == before


def test_a_wish_that_failed_is_due_at_its_retry(conn: Connection) -> None:
    job_id = _put(conn, {})
    provisioning.retry(conn, job_id, 1, 160, "LiteLLM is down")
    assert provisioning.due(conn, 159, 10) == []
    [job] = provisioning.due(conn, 160, 10)
    assert (job.attempts, job.error) == (1, "LiteLLM is down")


def test_a_dead_wish_waits_for_a_person(conn: Connection) -> None:
    dead, alive = _put(conn, {}), _put(conn, {}, kind="notice")
    provisioning.dead(conn, dead, 1, "refused: 400", 150)
    assert [job.job_id for job in provisioning.due(conn, 10_000, 10)] == [alive]
    assert provisioning.counts(conn) == {"waiting": 1, "done": 0, "dead": 1}
    assert provisioning.revive(conn, alive, 200) == 0
    assert provisioning.revive(conn, dead, 200) == 1
    assert [(job.job_id, job.attempts) for job in provisioning.due(conn, 200, 10)] == [(alive, 0), (dead, 0)]


def test_all_dead_wishes_are_revived_at_once(conn: Connection) -> None:
    for kind in ("a", "b", "c"):
        job_id = _put(conn, {}, kind=kind)
        if kind != "c":
            provisioning.dead(conn, job_id, 1, "refused", 150)
    assert provisioning.revive(conn, None, 200) == 2
    assert provisioning.counts(conn) == {"waiting": 3, "done": 0, "dead": 0}


def test_the_longest_due_come_first_and_no_more_than_asked(conn: Connection) -> None:
    for now, kind in ((103, "c"), (101, "a"), (102, "b")):
        _put(conn, {}, now=now, kind=kind)
    assert [job.kind for job in provisioning.due(conn, 200, 2)] == ["a", "b"]

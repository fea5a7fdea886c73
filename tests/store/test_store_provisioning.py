"""Provisioning jobs: one per user, replaced by a newer one, retried, given up and revived."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import provisioning


def _put(conn: Connection, now: int = 100, user_id: str = "u1") -> int:
    return provisioning.put(conn, "skai", user_id, now)


def _get(conn: Connection, user_id: str = "u1") -> provisioning.ProvisioningJob:
    job = provisioning.get(conn, "skai", user_id)
    assert job is not None
    return job


def test_a_job_is_due_at_once(conn: Connection) -> None:
    job_id = _put(conn)
    [job] = provisioning.due(conn, 100, 10)
    assert (job.job_id, job.app_id, job.user_id) == (job_id, "skai", "u1")
    assert (job.version, job.attempts, job.state, job.answer) == (1, 0, "waiting", None)
    assert provisioning.due(conn, 99, 10) == []


def test_a_newer_job_replaces_the_one_before(conn: Connection) -> None:
    job_id = _put(conn)
    provisioning.retry(conn, job_id, 1, 900, "LiteLLM is down")
    assert _put(conn, now=200) == job_id
    [job] = provisioning.due(conn, 200, 10)
    assert (job.version, job.attempts, job.error) == (2, 0, "")


def test_each_user_of_each_app_has_a_job_of_their_own(conn: Connection) -> None:
    jobs = {_put(conn), _put(conn, user_id="u2"), provisioning.put(conn, "studio", "u1", 100)}
    assert len(jobs) == 3
    assert {(job.app_id, job.user_id) for job in provisioning.due(conn, 100, 10)} == {
        ("skai", "u1"), ("skai", "u2"), ("studio", "u1"),
    }  # fmt: skip
    assert provisioning.get(conn, "studio", "u2") is None


def test_a_done_job_is_not_due_and_keeps_its_answer(conn: Connection) -> None:
    job_id = _put(conn)
    provisioning.done(conn, job_id, 1, {"max_budget": 10.0, "models": ["a", "é"]}, 150)
    assert provisioning.due(conn, 1000, 10) == []
    job = _get(conn)
    assert (job.state, job.answer, job.updated_at) == ("done", {"max_budget": 10.0, "models": ["a", "é"]}, 150)


def test_a_job_put_after_it_was_done_waits_again(conn: Connection) -> None:
    job_id = _put(conn)
    provisioning.done(conn, job_id, 1, {}, 150)
    assert _put(conn, now=200) == job_id
    assert [job.version for job in provisioning.due(conn, 200, 10)] == [2]


def test_the_result_of_an_older_version_changes_nothing(conn: Connection) -> None:
    job_id = _put(conn)
    _put(conn, now=200)
    before = _get(conn)
    provisioning.done(conn, job_id, 1, {}, 300)
    provisioning.retry(conn, job_id, 1, 900, "late")
    provisioning.dead(conn, job_id, 1, "late", 300)
    assert _get(conn) == before


def test_a_failed_job_is_due_at_its_retry(conn: Connection) -> None:
    job_id = _put(conn)
    assert _get(conn).is_on_its_way
    provisioning.retry(conn, job_id, 1, 160, "LiteLLM is down")
    assert provisioning.due(conn, 159, 10) == []
    [job] = provisioning.due(conn, 160, 10)
    assert (job.attempts, job.error, job.is_on_its_way) == (1, "LiteLLM is down", False)


def test_a_dead_job_waits_until_it_is_revived(conn: Connection) -> None:
    dead, alive = _put(conn), _put(conn, user_id="u2")
    provisioning.dead(conn, dead, 1, "refused: 400", 150)
    assert [job.job_id for job in provisioning.due(conn, 10_000, 10)] == [alive]
    assert provisioning.counts(conn) == {"waiting": 1, "done": 0, "dead": 1}
    assert provisioning.revive(conn, 200) == 1
    assert [(job.job_id, job.attempts) for job in provisioning.due(conn, 200, 10)] == [(alive, 0), (dead, 0)]


def test_all_dead_jobs_are_revived_at_once(conn: Connection) -> None:
    for user_id in ("a", "b", "c"):
        job_id = _put(conn, user_id=user_id)
        if user_id != "c":
            provisioning.dead(conn, job_id, 1, "refused", 150)
    assert provisioning.revive(conn, 200) == 2
    assert provisioning.counts(conn) == {"waiting": 3, "done": 0, "dead": 0}


def test_jobs_are_read_longest_due_first_up_to_the_limit(conn: Connection) -> None:
    for now, user_id in ((103, "c"), (101, "a"), (102, "b")):
        _put(conn, now, user_id)
    assert [job.user_id for job in provisioning.due(conn, 200, 2)] == ["a", "b"]

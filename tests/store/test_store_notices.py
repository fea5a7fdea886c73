"""Notices to the apps: in order for each user, with one id and the same body each time."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import NotFound
from gateway.store import Store, entitlements, notices
from gateway.store.engine.ownership import _FOLDER
from gateway.store.entitlements import Change
from gateway.store.notices import Notice
from gateway.store.store import _backend
from gateway.tiers.model import Entitlement, Reason


def _change(conn: Connection, tier: str, user_id: str = "u1", app_id: str = "skai", now: int = 100) -> Change:
    decided = Entitlement(tier=tier, reason=Reason.ACTIVE, source="subscription")
    change = entitlements.save(conn, app_id, user_id, decided, now)
    assert change is not None
    return change


def _put(conn: Connection, tier: str, user_id: str = "u1", app_id: str = "skai", now: int = 100) -> str:
    change = _change(conn, tier, user_id, app_id, now)
    notices.put(conn, change, f'{{"to":"{tier}"}}', now)
    return change.change_id


def _get(conn: Connection, change_id: str) -> Notice:
    [found] = [each for each in notices.recent(conn, 100) if each.change_id == change_id]
    return found


def _due(conn: Connection, now: int = 10_000) -> list[str]:
    return [notice.change_id for notice in notices.due(conn, now, 10)]


def test_a_notice_is_due_at_once_with_its_body_unchanged(conn: Connection) -> None:
    change = _change(conn, "pro")
    body = '{"user_id": "ü\\u0001  ", "n": 1.0}'
    notices.put(conn, change, body, 100)
    assert notices.due(conn, 99, 10) == []
    [notice] = notices.due(conn, 100, 10)
    assert (notice.change_id, notice.app_id, notice.user_id) == (change.change_id, "skai", "u1")
    assert (notice.body, notice.state, notice.attempts, notice.error) == (body, "waiting", 0, "")
    assert (notice.due_at, notice.created_at) == (100, 100)
    assert (notice.first_failed_at, notice.last_status, notice.done_at) == (None, None, None)


def test_t24_a_change_has_only_one_notice(conn: Connection) -> None:
    change = _change(conn, "pro")
    notices.put(conn, change, "{}", 100)
    with pytest.raises(IntegrityError), conn.begin_nested():
        notices.put(conn, change, "{}", 100)


def test_a_notice_of_an_unrecorded_change_is_refused(conn: Connection) -> None:
    change = Change("unrecorded", "skai", "u1", None, "pro", Reason.ACTIVE, 100)
    with pytest.raises(IntegrityError), conn.begin_nested():
        notices.put(conn, change, "{}", 100)


@pytest.mark.parametrize("end", ["done", "dead"])
def test_a_users_later_notice_waits_until_the_earlier_one_is_done_or_dead(conn: Connection, end: str) -> None:
    first, second, third = _put(conn, "pro"), _put(conn, "free"), _put(conn, "enterprise")
    assert _due(conn) == [first]
    notices.retry(conn, _get(conn, first), 500, 503, "down", 110)
    assert (_due(conn, 499), _due(conn, 500)) == ([], [first])
    if end == "done":
        notices.done(conn, _get(conn, first), 204, 600)
    else:
        notices.dead(conn, _get(conn, first), 410, "gone", 600)
    assert _due(conn) == [second]
    assert (_get(conn, second).due_at, _get(conn, third).due_at) == (600, None)


def test_other_users_and_apps_do_not_wait_for_each_other(conn: Connection) -> None:
    put = {_put(conn, "pro"), _put(conn, "pro", "u2"), _put(conn, "pro", "u1", "blog")}
    assert set(_due(conn)) == put


def test_busy_apps_and_notices_under_way_are_left_out(conn: Connection) -> None:
    one, two, other = _put(conn, "pro"), _put(conn, "pro", "u2"), _put(conn, "pro", "u1", "blog")
    assert [each.change_id for each in notices.due(conn, 100, 10, under_way={one})] == [two, other]
    assert [each.change_id for each in notices.due(conn, 100, 10, busy_apps={"skai"})] == [other]
    assert [each.change_id for each in notices.due(conn, 100, 1)] == [one]


def test_failures_are_counted_and_the_first_time_is_kept(conn: Connection) -> None:
    change_id = _put(conn, "pro")
    notices.retry(conn, _get(conn, change_id), 111, 500, "500 oops", 110)
    notices.retry(conn, _get(conn, change_id), 140, None, "no answer", 120)
    notice = _get(conn, change_id)
    assert (notice.attempts, notice.due_at, notice.first_failed_at) == (2, 140, 110)
    assert (notice.last_status, notice.error) == (None, "no answer")


def test_a_done_notice_is_not_changed_by_a_late_result(conn: Connection) -> None:
    change_id = _put(conn, "pro")
    before = _get(conn, change_id)
    notices.retry(conn, before, 111, 500, "oops", 110)
    notices.done(conn, before, 204, 120)
    notices.retry(conn, before, 200, 500, "late", 150)
    notices.dead(conn, before, 410, "late", 150)
    notice = _get(conn, change_id)
    assert (notice.state, notice.attempts, notice.last_status, notice.error) == ("done", 2, 204, "")
    assert (notice.done_at, notice.due_at) == (120, None)


@pytest.mark.parametrize("end", ["waiting", "done", "dead"])
def test_a_replayed_notice_has_the_same_id_and_body_and_no_failures(conn: Connection, end: str) -> None:
    change_id = _put(conn, "pro")
    notices.retry(conn, _get(conn, change_id), 700, 500, "oops", 110)
    if end == "done":
        notices.done(conn, _get(conn, change_id), 200, 120)
    elif end == "dead":
        notices.dead(conn, _get(conn, change_id), 410, "gone", 120)
    assert notices.replay(conn, change_id, 150).state == end
    [notice] = notices.due(conn, 150, 10)
    assert (notice.change_id, notice.body, notice.attempts) == (change_id, '{"to":"pro"}', 0)
    assert (notice.first_failed_at, notice.done_at) == (None, None)


def test_a_replayed_notice_is_sent_before_later_waiting_ones(conn: Connection) -> None:
    first = _put(conn, "pro")
    notices.dead(conn, _get(conn, first), 410, "gone", 110)
    second = _put(conn, "free")
    assert _due(conn) == [second]
    notices.replay(conn, first, 120)
    assert _due(conn) == [first]
    notices.done(conn, _get(conn, first), 200, 130)
    assert _due(conn) == [second]


def test_replaying_a_waiting_notice_does_not_change_the_order(conn: Connection) -> None:
    first, second = _put(conn, "pro"), _put(conn, "free")
    notices.replay(conn, second, 120)
    assert _due(conn) == [first]


def test_replaying_an_unknown_notice_raises_not_found(conn: Connection) -> None:
    with pytest.raises(NotFound) as error:
        notices.replay(conn, "nope", 100)
    assert error.value.code == "unknown_notice"


def test_dead_notices_are_replayed_in_order(conn: Connection) -> None:
    first, second, other = _put(conn, "pro"), _put(conn, "free"), _put(conn, "pro", "u1", "blog")
    for change_id in (first, second, other):
        notices.dead(conn, _get(conn, change_id), 410, "gone", 110)
    assert notices.counts(conn) == {"waiting": 0, "dead": 3}
    assert notices.replay_dead(conn, "skai", 120) == 2
    assert _due(conn) == [first]
    assert notices.counts(conn) == {"waiting": 2, "dead": 1}
    assert notices.replay_dead(conn, None, 130) == 1
    assert notices.replay_dead(conn, None, 140) == 0
    assert _due(conn) == [first, other]


def test_notices_are_listed_newest_first_by_app_and_state(conn: Connection) -> None:
    first, second, other = _put(conn, "pro"), _put(conn, "free"), _put(conn, "pro", "u2", "blog")
    notices.done(conn, _get(conn, first), 200, 110)

    def listed(app_id: str | None = None, state: str | None = None, limit: int = 10) -> list[str]:
        return [each.change_id for each in notices.recent(conn, limit, app_id, state)]

    assert listed() == [other, second, first]
    assert (listed("skai"), listed(state="done"), listed("skai", "waiting")) == ([second, first], [first], [second])
    assert listed(limit=1) == [other]
    assert [each.change_id for each in notices.of_user(conn, "skai", "u1", 10)] == [second, first]


def test_a_failing_app_and_a_later_dead_notice_are_found(conn: Connection) -> None:
    first, second = _put(conn, "pro"), _put(conn, "free")
    assert not notices.failing(conn, "skai", 1)
    notices.retry(conn, _get(conn, first), 111, 500, "oops", 110)
    assert notices.failing(conn, "skai", 1)
    assert not notices.failing(conn, "skai", 2)
    assert not notices.failing(conn, "blog", 1)
    notices.done(conn, _get(conn, first), 200, 120)
    assert not notices.failing(conn, "skai", 1)
    assert not notices.dead_after(conn, _get(conn, first))
    notices.dead(conn, _get(conn, second), 410, "gone", 120)
    assert notices.dead_after(conn, _get(conn, first))
    assert not notices.dead_after(conn, _get(conn, second))


# As SQL, because the store writes rows of the newest schema.
_ROWS_OF_VERSION_1 = (
    "INSERT INTO entitlements (app_id, user_id, tier, reason, source, changes_to_come, concerns, version, changed_at,"
    " updated_at) VALUES ('skai', 'u1', 'pro', 'active', 'subscription', '[]', '[]', 1, 100, 100)",
    "INSERT INTO tier_changes (change_id, app_id, user_id, to_tier, reason, at)"
    " VALUES ('c1', 'skai', 'u1', 'pro', 'active', 100)",
)


def test_a_database_of_the_first_version_keeps_its_rows_and_gets_notices(database_url: str) -> None:
    backend = _backend(database_url)
    conn = backend.connect_writer()
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = conn
    with conn.begin():
        command.upgrade(config, "0001")
        for statement in _ROWS_OF_VERSION_1:
            conn.exec_driver_sql(statement)
        assert "notices" not in conn.dialect.get_table_names(conn)
    conn.close()
    backend.close()
    opened = Store.open(database_url)
    try:
        [old] = opened.read_now(lambda conn: entitlements.changes(conn, "skai", "u1", 10))
        assert (old.change_id, old.from_tier, old.to_tier) == ("c1", None, "pro")
        change_id = opened.write_now(lambda conn: _put(conn, "free"))
        assert opened.read_now(_due) == [change_id]
        version = opened.read_now(lambda conn: conn.execute(text("SELECT version_num FROM alembic_version")).scalar())
        assert version is not None
        assert version >= "0002"
    finally:
        opened.close_now()

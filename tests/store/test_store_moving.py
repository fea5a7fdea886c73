"""Moving the rows of one user to another."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import customers, disputes, grants, keys, moving


def test_all_rows_of_one_user_are_moved_and_no_others(conn: Connection) -> None:
    for app_id, user_id, customer_id in (("skai", "old", "cus_1"), ("skai", "b", "cus_2"), ("studio", "old", "cus_3")):
        customers.add(conn, app_id, user_id, customer_id, None, 1)
        keys.add(conn, "user", customer_id.encode(), app_id, user_id, "", 1)
        grants.add(conn, app_id, user_id, "pro", "friend", None, 1)
        disputes.record_event(conn, f"dp_{customer_id}", "dispute", customer_id, app_id, user_id, 1)
    customers.mark_deleted(conn, "cus_1", 5)
    assert moving.has_rows(conn, "skai", "old")
    for _ in range(2):
        moving.move_rows(conn, "skai", "old", "new")
        assert not moving.has_rows(conn, "skai", "old")
        assert customers.ids_of_user(conn, "skai", "new") == ["cus_1"]
        assert [(key.app_id, key.user_id) for key in keys.all_(conn)] == [
            ("skai", "new"), ("skai", "b"), ("studio", "old")
        ]  # fmt: skip
        assert len(grants.live(conn, "skai", "new", 2)) == 1
        assert grants.live(conn, "skai", "old", 2) == []
        assert moving.has_rows(conn, "studio", "old")

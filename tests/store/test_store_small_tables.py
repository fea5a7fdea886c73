"""LiteLLM ids, prices, alerts and the named values of the installation."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import alerts, instance, litellm_ids, prices
from gateway.store.alerts import Alert
from gateway.store.litellm_ids import Owner, Provisioned
from gateway.store.prices import KnownPrice


def test_t2_a_litellm_id_belongs_to_the_user_who_reserved_it_first(conn: Connection) -> None:
    assert litellm_ids.reserve(conn, "customer", "u1", "skai", "u1", 100) == Owner("skai", "u1")
    assert litellm_ids.reserve(conn, "customer", "u1", "skai", "u1", 200) == Owner("skai", "u1")
    assert litellm_ids.reserve(conn, "customer", "u1", "other", "u1", 200) == Owner("skai", "u1")
    assert litellm_ids.reserve(conn, "internal_user", "u1", "other", "u1", 200) == Owner("other", "u1")


def test_confirmed_limits_are_stored_for_a_reserved_id(conn: Connection) -> None:
    assert litellm_ids.get(conn, "customer", "u1") is None
    litellm_ids.provisioned(conn, "customer", "u1", "digest", "1d", 100)
    assert litellm_ids.get(conn, "customer", "u1") is None
    litellm_ids.reserve(conn, "customer", "u1", "skai", "u1", 100)
    assert litellm_ids.get(conn, "customer", "u1") == Provisioned(
        "customer", "u1", Owner("skai", "u1"), None, None, None
    )
    litellm_ids.provisioned(conn, "customer", "u1", "digest", "1d", 150)
    litellm_ids.reserve(conn, "customer", "u1", "skai", "u1", 200)
    assert litellm_ids.get(conn, "customer", "u1") == Provisioned(
        "customer", "u1", Owner("skai", "u1"), "digest", "1d", 150
    )


def test_a_price_is_kept_after_its_lookup_key_has_moved(conn: Connection) -> None:
    prices.record(conn, "price_old", "skai", "pro", "skai_pro_month", 100)
    prices.record(conn, "price_new", "skai", "pro", "skai_pro_month", 200)
    assert prices.known(conn) == {
        "price_old": KnownPrice("price_old", "skai", "pro", "skai_pro_month"),
        "price_new": KnownPrice("price_new", "skai", "pro", "skai_pro_month"),
    }


def test_the_last_recorded_tier_of_a_price_counts(conn: Connection) -> None:
    prices.record(conn, "price_1", "skai", "pro", "skai_pro_month", 100)
    prices.record(conn, "price_1", "skai", "plus", None, 200)
    assert prices.known(conn) == {"price_1": KnownPrice("price_1", "skai", "plus", None)}


def test_an_alert_opens_once_and_counts(conn: Connection) -> None:
    assert alerts.open_(conn, "litellm_id_taken", "u1", "reserved by other", 100)
    assert not alerts.open_(conn, "litellm_id_taken", "u1", "reserved by a third", 150)
    assert alerts.open_(conn, "litellm_id_taken", "u2", "reserved by other", 120)
    assert alerts.live(conn) == [
        Alert("litellm_id_taken", "u1", "reserved by a third", 100, 150, 2, None),
        Alert("litellm_id_taken", "u2", "reserved by other", 120, 120, 1, None),
    ]


def test_a_resolved_alert_can_be_opened_again(conn: Connection) -> None:
    assert not alerts.resolve(conn, "store", "disk", 100)
    alerts.open_(conn, "store", "disk", "full", 100)
    alerts.open_(conn, "store", "disk", "full", 110)
    assert alerts.resolve(conn, "store", "disk", 200)
    assert not alerts.resolve(conn, "store", "disk", 210)
    assert alerts.live(conn) == []
    assert alerts.open_(conn, "store", "disk", "full again", 300)
    assert not alerts.open_(conn, "store", "disk", "full again", 310)
    assert alerts.live(conn) == [Alert("store", "disk", "full again", 300, 310, 2, None)]


def test_a_named_value_is_replaced(conn: Connection) -> None:
    assert instance.get(conn, "account") is None
    instance.put(conn, "account", "acct_1")
    instance.put(conn, "account", "acct_2")
    instance.put(conn, "epoch", "7")
    assert (instance.get(conn, "account"), instance.get(conn, "epoch")) == ("acct_2", "7")

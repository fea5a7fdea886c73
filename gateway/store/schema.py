"""All tables. Text is compared byte for byte, times are epoch seconds, absent text in a key is ''."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger, Boolean, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, MetaData, Table,
    Text, literal_column, text,
)  # fmt: skip

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

# By default PostgreSQL sorts by the locale of the cluster; SQLite compares bytes.
_text = Text().with_variant(Text(collation="C"), "postgresql")
_instant = BigInteger()
# SQLite numbers rows only if the column type is exactly INTEGER.
_number = BigInteger().with_variant(Integer(), "sqlite")

OWN_ACCOUNT = ""
"""The Stripe account of STRIPE_SECRET_KEY, in every column `account`. See docs/adr/0018."""


def _account(*, primary_key: bool = False) -> Column[str]:
    """The account in which the Stripe ids of the row are valid."""
    return Column("account", _text, primary_key=primary_key, nullable=False, server_default=text("''"))


customers = Table(
    "customers",
    metadata,
    _account(primary_key=True),
    Column("customer_id", _text, primary_key=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("email", _text),
    Column("created_at", _instant, nullable=False),
    Column("deleted_at", _instant),
    Index("ix_customers_user", "app_id", "user_id"),
    Index("ix_customers_created", "created_at"),
)

inbox = Table(
    "inbox",
    metadata,
    # The connected account of a Connect event. Not NULL, which would make every duplicate unique.
    Column("account", _text, primary_key=True),
    Column("event_id", _text, primary_key=True),
    Column("type", _text, nullable=False),
    Column("api_version", _text),
    Column("livemode", Boolean, nullable=False),
    Column("customer_id", _text),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", _instant, nullable=False),
    Column("state", _text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", _instant, nullable=False),
    Column("finished_at", _instant),
    Column("error", _text, nullable=False),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
)
# A literal, because SQLite uses a partial index only if the query has the same condition as text.
EVENT_WAITS = inbox.c.state == literal_column("'waiting'")
EVENT_OF_SOMEBODY = inbox.c.app_id != literal_column("''")
Index("ix_inbox_waiting", inbox.c.due_at, sqlite_where=EVENT_WAITS, postgresql_where=EVENT_WAITS)
Index("ix_inbox_received", inbox.c.received_at)
Index(
    "ix_inbox_user",
    inbox.c.app_id,
    inbox.c.user_id,
    inbox.c.received_at,
    sqlite_where=EVENT_OF_SOMEBODY,
    postgresql_where=EVENT_OF_SOMEBODY,
)

refreshes = Table(
    "refreshes",
    metadata,
    Column("app_id", _text, primary_key=True),
    Column("user_id", _text, primary_key=True),
    Column("wanted", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    # When the next refresh is due: now if requested, else at the retry, else at the timer; NULL: never.
    Column("due_at", _instant),
    Column("timer_at", _instant),
    Column("lease_owner", _text, nullable=False),
    Column("lease_number", BigInteger, nullable=False),
    Column("lease_until", _instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", _text, nullable=False),
    Index("ix_refreshes_due", "due_at"),
)
REFRESH_WAITS = refreshes.c.wanted > refreshes.c.done
Index("ix_refreshes_waiting", refreshes.c.due_at, sqlite_where=REFRESH_WAITS, postgresql_where=REFRESH_WAITS)

entitlements = Table(
    "entitlements",
    metadata,
    Column("app_id", _text, primary_key=True),
    Column("user_id", _text, primary_key=True),
    Column("tier", _text, nullable=False),
    Column("reason", _text, nullable=False),
    Column("source", _text, nullable=False),
    Column("status", _text),
    _account(),
    Column("customer_id", _text),
    Column("subscription_id", _text),
    Column("price_id", _text),
    Column("changes_to_come", _text, nullable=False),
    Column("until_at", _instant),
    Column("ends_at", _instant),
    Column("period_end_at", _instant),
    Column("renews", Boolean),
    Column("pending_tier", _text),
    Column("pending_at", _instant),
    Column("concerns", _text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", _instant, nullable=False),
    Column("updated_at", _instant, nullable=False),
    Index("ix_entitlements_tier", "app_id", "tier", "user_id"),
)
TIER_IN_USE = entitlements.c.source != literal_column("'default'")
Index(
    "ix_entitlements_in_use",
    entitlements.c.app_id,
    entitlements.c.tier,
    sqlite_where=TIER_IN_USE,
    postgresql_where=TIER_IN_USE,
)

last_good_tiers = Table(
    "last_good_tiers",
    metadata,
    _account(primary_key=True),
    Column("subscription_id", _text, primary_key=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("customer_id", _text, nullable=False),
    Column("tier", _text, nullable=False),
    Column("price_id", _text),
    Column("gives", Boolean, nullable=False),
    Column("until_at", _instant),
    Column("status", _text, nullable=False),
    Column("updated_at", _instant, nullable=False),
    Index("ix_last_good_tiers_user", "app_id", "user_id"),
)

tier_changes = Table(
    "tier_changes",
    metadata,
    Column("change_number", _number, primary_key=True, autoincrement=True),
    Column("change_id", _text, nullable=False, unique=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("from_tier", _text),
    Column("to_tier", _text, nullable=False),
    Column("reason", _text, nullable=False),
    Column("at", _instant, nullable=False),
    ForeignKeyConstraint(["app_id", "user_id"], ["entitlements.app_id", "entitlements.user_id"], ondelete="CASCADE"),
    Index("ix_tier_changes_user", "app_id", "user_id", "change_number"),
    sqlite_autoincrement=True,
)

provisioning = Table(
    "provisioning",
    metadata,
    Column("job_id", _number, primary_key=True, autoincrement=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", _text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", _instant, nullable=False),
    Column("error", _text, nullable=False),
    Column("answer", _text),
    Column("updated_at", _instant, nullable=False),
    Index("uq_provisioning_user", "app_id", "user_id", unique=True),
    Index("ix_provisioning_due", "state", "due_at"),
    sqlite_autoincrement=True,
)

notices = Table(
    "notices",
    metadata,
    # The `webhook-id` of every attempt, so that an app can recognise a repeated notice.
    Column("change_id", _text, primary_key=True),
    # Orders the changes. Of a user's waiting notices only the one with the lowest number is due.
    Column("number", BigInteger, nullable=False, unique=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("body", _text, nullable=False),
    Column("state", _text, nullable=False),
    Column("attempts", Integer, nullable=False),
    # NULL: an earlier notice of the user waits, or this one does not.
    Column("due_at", _instant),
    Column("first_failed_at", _instant),
    Column("last_status", Integer),
    Column("error", _text, nullable=False),
    Column("created_at", _instant, nullable=False),
    Column("done_at", _instant),
    Index("ix_notices_user", "app_id", "user_id", "number"),
)
NOTICE_WAITS = notices.c.state == literal_column("'waiting'")
NOTICE_IS_DEAD = notices.c.state == literal_column("'dead'")
Index(
    "ix_notices_waiting", notices.c.due_at, notices.c.app_id, sqlite_where=NOTICE_WAITS, postgresql_where=NOTICE_WAITS
)
Index("ix_notices_dead", notices.c.app_id, sqlite_where=NOTICE_IS_DEAD, postgresql_where=NOTICE_IS_DEAD)

checkouts = Table(
    "checkouts",
    metadata,
    Column("app_id", _text, primary_key=True),
    Column("user_id", _text, primary_key=True),
    # The row outlives its checkout, because an attempt number must never be reused.
    Column("attempt", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    _account(),
    Column("session_id", _text),
    Column("tier", _text, nullable=False),
    Column("price_id", _text, nullable=False),
    Column("url", _text),
    Column("expires_at", _instant),
    Column("begun_at", _instant, nullable=False),
)

prices = Table(
    "prices",
    metadata,
    _account(primary_key=True),
    Column("price_id", _text, primary_key=True),
    Column("app_id", _text, nullable=False),
    Column("tier", _text, nullable=False),
    Column("lookup_key", _text),
    Column("seen_at", _instant, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", _number, primary_key=True, autoincrement=True),
    Column("kind", _text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text),
    Column("name", _text, nullable=False),
    Column("created_at", _instant, nullable=False),
    Column("revoked_at", _instant),
    Index("ix_keys_app", "app_id", "kind"),
    sqlite_autoincrement=True,
)

grants = Table(
    "grants",
    metadata,
    Column("grant_id", _number, primary_key=True, autoincrement=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("tier", _text, nullable=False),
    Column("reason", _text, nullable=False),
    Column("given_at", _instant, nullable=False),
    Column("until_at", _instant),
    Column("revoked_at", _instant),
    Index("ix_grants_user", "app_id", "user_id"),
    sqlite_autoincrement=True,
)

litellm_ids = Table(
    "litellm_ids",
    metadata,
    Column("mode", _text, primary_key=True),
    Column("litellm_id", _text, primary_key=True),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("claimed_at", _instant, nullable=False),
    Column("digest", _text),
    Column("budget_duration", _text),
    Column("provisioned_at", _instant),
)

alerts = Table(
    "alerts",
    metadata,
    Column("kind", _text, primary_key=True),
    Column("subject", _text, primary_key=True),
    Column("message", _text, nullable=False),
    Column("opened_at", _instant, nullable=False),
    Column("last_at", _instant, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("resolved_at", _instant),
)

disputes = Table(
    "disputes",
    metadata,
    _account(primary_key=True),
    # The id of the dispute, the refunded charge or the fraud warning.
    Column("object_id", _text, primary_key=True),
    # Stripe's name of the object type.
    Column("kind", _text, nullable=False),
    Column("customer_id", _text, nullable=False),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("remembered_at", _instant, nullable=False),
    # Counts events about it, so that one that arrives while Stripe is read causes another read.
    Column("wanted", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    # Stripe's last answer as JSON; '' before the first one.
    Column("found", _text, nullable=False),
    Index("ix_disputes_user", "app_id", "user_id"),
)

tombstones = Table(
    "tombstones",
    metadata,
    # A hash of the ids: the row itself must not identify the person.
    Column("digest", LargeBinary, primary_key=True),
    Column("forgotten_at", _instant, nullable=False),
)

gate_changes = Table(
    "gate_changes",
    metadata,
    # From `gate_change_counter`, not from a sequence: without gaps, in the order of the commits.
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # "tier", "keys" or "all"
    Column("kind", _text, nullable=False),
    Column("app_id", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("at", _instant, nullable=False),
)

gate_change_counter = Table(
    "gate_change_counter",
    metadata,
    # One row, 1.
    Column("counter", Integer, primary_key=True, autoincrement=False),
    # The last number assigned, and the last one that is no longer in `gate_changes`.
    Column("number", BigInteger, nullable=False),
    Column("purged", BigInteger, nullable=False),
)

instance = Table("instance", metadata, Column("key", _text, primary_key=True), Column("value", _text, nullable=False))

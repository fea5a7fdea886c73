"""All tables. Text is compared byte for byte, times are epoch seconds, absent text in a key is ''."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    literal_column,
)

from gateway.store.columns import INSTANT, NUMBER, TEXT, account, metadata

customers = Table(
    "customers",
    metadata,
    account(primary_key=True),
    Column("customer_id", TEXT, primary_key=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("email", TEXT),
    Column("created_at", INSTANT, nullable=False),
    Column("deleted_at", INSTANT),
    Index("ix_customers_user", "app_id", "user_id"),
    Index("ix_customers_created", "created_at"),
)

inbox = Table(
    "inbox",
    metadata,
    # The connected account of a Connect event. Not NULL, which would make every duplicate unique.
    Column("account", TEXT, primary_key=True),
    Column("event_id", TEXT, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("api_version", TEXT),
    Column("livemode", Boolean, nullable=False),
    Column("customer_id", TEXT),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", INSTANT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("finished_at", INSTANT),
    Column("error", TEXT, nullable=False),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
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
    Column("app_id", TEXT, primary_key=True),
    Column("user_id", TEXT, primary_key=True),
    Column("wanted", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    # When the next refresh is due: now if requested, else at the retry, else at the timer; NULL: never.
    Column("due_at", INSTANT),
    Column("timer_at", INSTANT),
    Column("lease_owner", TEXT, nullable=False),
    Column("lease_number", BigInteger, nullable=False),
    Column("lease_until", INSTANT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", TEXT, nullable=False),
    Index("ix_refreshes_due", "due_at"),
)
REFRESH_WAITS = refreshes.c.wanted > refreshes.c.done
Index("ix_refreshes_waiting", refreshes.c.due_at, sqlite_where=REFRESH_WAITS, postgresql_where=REFRESH_WAITS)

entitlements = Table(
    "entitlements",
    metadata,
    Column("app_id", TEXT, primary_key=True),
    Column("user_id", TEXT, primary_key=True),
    Column("tier", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("status", TEXT),
    account(),
    Column("customer_id", TEXT),
    Column("subscription_id", TEXT),
    Column("price_id", TEXT),
    Column("changes_to_come", TEXT, nullable=False),
    Column("until_at", INSTANT),
    Column("ends_at", INSTANT),
    Column("period_end_at", INSTANT),
    Column("renews", Boolean),
    Column("pending_tier", TEXT),
    Column("pending_at", INSTANT),
    Column("concerns", TEXT, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
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
    account(primary_key=True),
    Column("subscription_id", TEXT, primary_key=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("customer_id", TEXT, nullable=False),
    Column("tier", TEXT, nullable=False),
    Column("price_id", TEXT),
    Column("gives", Boolean, nullable=False),
    Column("until_at", INSTANT),
    Column("status", TEXT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Index("ix_last_good_tiers_user", "app_id", "user_id"),
)

tier_changes = Table(
    "tier_changes",
    metadata,
    Column("change_number", NUMBER, primary_key=True, autoincrement=True),
    Column("change_id", TEXT, nullable=False, unique=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("from_tier", TEXT),
    Column("to_tier", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("at", INSTANT, nullable=False),
    ForeignKeyConstraint(["app_id", "user_id"], ["entitlements.app_id", "entitlements.user_id"], ondelete="CASCADE"),
    Index("ix_tier_changes_user", "app_id", "user_id", "change_number"),
    sqlite_autoincrement=True,
)

provisioning = Table(
    "provisioning",
    metadata,
    Column("job_id", NUMBER, primary_key=True, autoincrement=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("error", TEXT, nullable=False),
    Column("answer", TEXT),
    Column("updated_at", INSTANT, nullable=False),
    Index("uq_provisioning_user", "app_id", "user_id", unique=True),
    Index("ix_provisioning_due", "state", "due_at"),
    sqlite_autoincrement=True,
)

notices = Table(
    "notices",
    metadata,
    # The `webhook-id` of every attempt, so that an app can recognise a repeated notice.
    Column("change_id", TEXT, primary_key=True),
    # Orders the changes. Of a user's waiting notices only the one with the lowest number is due.
    Column("number", BigInteger, nullable=False, unique=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("body", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("attempts", Integer, nullable=False),
    # NULL: an earlier notice of the user waits, or this one does not.
    Column("due_at", INSTANT),
    Column("first_failed_at", INSTANT),
    Column("last_status", Integer),
    Column("error", TEXT, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("done_at", INSTANT),
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
    Column("app_id", TEXT, primary_key=True),
    Column("user_id", TEXT, primary_key=True),
    # The row outlives its checkout, because an attempt number must never be reused.
    Column("attempt", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    account(),
    Column("session_id", TEXT),
    Column("tier", TEXT, nullable=False),
    Column("price_id", TEXT, nullable=False),
    Column("url", TEXT),
    Column("expires_at", INSTANT),
    Column("begun_at", INSTANT, nullable=False),
)

prices = Table(
    "prices",
    metadata,
    account(primary_key=True),
    Column("price_id", TEXT, primary_key=True),
    Column("app_id", TEXT, nullable=False),
    Column("tier", TEXT, nullable=False),
    Column("lookup_key", TEXT),
    Column("seen_at", INSTANT, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", NUMBER, primary_key=True, autoincrement=True),
    Column("kind", TEXT, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT),
    Column("name", TEXT, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("revoked_at", INSTANT),
    Index("ix_keys_app", "app_id", "kind"),
    sqlite_autoincrement=True,
)

grants = Table(
    "grants",
    metadata,
    Column("grant_id", NUMBER, primary_key=True, autoincrement=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("tier", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("given_at", INSTANT, nullable=False),
    Column("until_at", INSTANT),
    Column("revoked_at", INSTANT),
    Index("ix_grants_user", "app_id", "user_id"),
    sqlite_autoincrement=True,
)

litellm_ids = Table(
    "litellm_ids",
    metadata,
    Column("mode", TEXT, primary_key=True),
    Column("litellm_id", TEXT, primary_key=True),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("claimed_at", INSTANT, nullable=False),
    Column("digest", TEXT),
    Column("budget_duration", TEXT),
    Column("provisioned_at", INSTANT),
)

alerts = Table(
    "alerts",
    metadata,
    Column("kind", TEXT, primary_key=True),
    Column("subject", TEXT, primary_key=True),
    Column("message", TEXT, nullable=False),
    Column("opened_at", INSTANT, nullable=False),
    Column("last_at", INSTANT, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("resolved_at", INSTANT),
)

disputes = Table(
    "disputes",
    metadata,
    account(primary_key=True),
    # The id of the dispute, the refunded charge or the fraud warning.
    Column("object_id", TEXT, primary_key=True),
    # Stripe's name of the object type.
    Column("kind", TEXT, nullable=False),
    Column("customer_id", TEXT, nullable=False),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("remembered_at", INSTANT, nullable=False),
    # Counts events about it, so that one that arrives while Stripe is read causes another read.
    Column("wanted", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    # Stripe's last answer as JSON; '' before the first one.
    Column("found", TEXT, nullable=False),
    Index("ix_disputes_user", "app_id", "user_id"),
)

tombstones = Table(
    "tombstones",
    metadata,
    # A hash of the ids: the row itself must not identify the person.
    Column("digest", LargeBinary, primary_key=True),
    Column("forgotten_at", INSTANT, nullable=False),
)

gate_changes = Table(
    "gate_changes",
    metadata,
    # From `gate_change_counter`, not from a sequence: without gaps, in the order of the commits.
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # "tier", "keys" or "all"
    Column("kind", TEXT, nullable=False),
    Column("app_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("at", INSTANT, nullable=False),
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

instance = Table("instance", metadata, Column("key", TEXT, primary_key=True), Column("value", TEXT, nullable=False))

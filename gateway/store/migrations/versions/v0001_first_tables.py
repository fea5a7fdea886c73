"""The first tables.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)

revision = "0001"
down_revision = None

_text = Text().with_variant(Text(collation="C"), "postgresql")
_number = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    _customers()
    _events()
    _refreshes()
    _entitlements()
    _tier_changes()
    _outbox()
    _access()
    _installation()


def _customers() -> None:
    op.create_table(
        "customers",
        Column("customer_id", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("email", _text),
        Column("created_at", BigInteger(), nullable=False),
        Column("deleted_at", BigInteger()),
        PrimaryKeyConstraint("customer_id", name=op.f("pk_customers")),
    )
    op.create_index("ix_customers_created", "customers", ["created_at"])
    op.create_index("ix_customers_user", "customers", ["app_id", "user_id"])
    op.create_table(
        "checkouts",
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("attempt", BigInteger(), nullable=False),
        Column("open", Boolean(), nullable=False),
        Column("session_id", _text),
        Column("tier", _text, nullable=False),
        Column("price_id", _text, nullable=False),
        Column("url", _text),
        Column("expires_at", BigInteger()),
        Column("begun_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("app_id", "user_id", name=op.f("pk_checkouts")),
    )
    op.create_table(
        "prices",
        Column("price_id", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("tier", _text, nullable=False),
        Column("lookup_key", _text),
        Column("seen_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("price_id", name=op.f("pk_prices")),
    )


def _events() -> None:
    op.create_table(
        "inbox",
        Column("account", _text, nullable=False),
        Column("event_id", _text, nullable=False),
        Column("type", _text, nullable=False),
        Column("api_version", _text),
        Column("livemode", Boolean(), nullable=False),
        Column("customer_id", _text),
        Column("body", LargeBinary(), nullable=False),
        Column("received_at", BigInteger(), nullable=False),
        Column("state", _text, nullable=False),
        Column("attempts", Integer(), nullable=False),
        Column("due_at", BigInteger(), nullable=False),
        Column("finished_at", BigInteger()),
        Column("error", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        PrimaryKeyConstraint("account", "event_id", name=op.f("pk_inbox")),
    )
    op.create_index("ix_inbox_received", "inbox", ["received_at"])
    op.create_index(
        "ix_inbox_user",
        "inbox",
        ["app_id", "user_id", "received_at"],
        sqlite_where=text("app_id != ''"),
        postgresql_where=text("app_id != ''"),
    )
    op.create_index(
        "ix_inbox_waiting",
        "inbox",
        ["due_at"],
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    )


def _refreshes() -> None:
    op.create_table(
        "refreshes",
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("wanted", BigInteger(), nullable=False),
        Column("done", BigInteger(), nullable=False),
        Column("due_at", BigInteger()),
        Column("timer_at", BigInteger()),
        Column("lease_owner", _text, nullable=False),
        Column("lease_number", BigInteger(), nullable=False),
        Column("lease_until", BigInteger(), nullable=False),
        Column("attempts", Integer(), nullable=False),
        Column("last_error", _text, nullable=False),
        PrimaryKeyConstraint("app_id", "user_id", name=op.f("pk_refreshes")),
    )
    op.create_index("ix_refreshes_due", "refreshes", ["due_at"])
    op.create_index(
        "ix_refreshes_waiting",
        "refreshes",
        ["due_at"],
        sqlite_where=text("wanted > done"),
        postgresql_where=text("wanted > done"),
    )


def _entitlements() -> None:
    op.create_table(
        "entitlements",
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("tier", _text, nullable=False),
        Column("reason", _text, nullable=False),
        Column("source", _text, nullable=False),
        Column("status", _text),
        Column("customer_id", _text),
        Column("subscription_id", _text),
        Column("price_id", _text),
        Column("changes_to_come", _text, nullable=False),
        Column("until_at", BigInteger()),
        Column("ends_at", BigInteger()),
        Column("concerns", _text, nullable=False),
        Column("version", BigInteger(), nullable=False),
        Column("changed_at", BigInteger(), nullable=False),
        Column("updated_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("app_id", "user_id", name=op.f("pk_entitlements")),
    )
    op.create_index(
        "ix_entitlements_in_use",
        "entitlements",
        ["app_id", "tier"],
        sqlite_where=text("source != 'default'"),
        postgresql_where=text("source != 'default'"),
    )
    op.create_index("ix_entitlements_tier", "entitlements", ["app_id", "tier", "user_id"])


def _tier_changes() -> None:
    op.create_table(
        "tier_changes",
        Column("change_number", _number, autoincrement=True, nullable=False),
        Column("change_id", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("from_tier", _text),
        Column("to_tier", _text, nullable=False),
        Column("reason", _text, nullable=False),
        Column("at", BigInteger(), nullable=False),
        ForeignKeyConstraint(
            ["app_id", "user_id"],
            ["entitlements.app_id", "entitlements.user_id"],
            name=op.f("fk_tier_changes_entitlements"),
            ondelete="CASCADE",
        ),
        PrimaryKeyConstraint("change_number", name=op.f("pk_tier_changes")),
        UniqueConstraint("change_id", name=op.f("uq_tier_changes_change_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tier_changes_user", "tier_changes", ["app_id", "user_id", "change_number"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        Column("wish_id", _number, autoincrement=True, nullable=False),
        Column("kind", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("payload", _text, nullable=False),
        Column("version", BigInteger(), nullable=False),
        Column("state", _text, nullable=False),
        Column("attempts", Integer(), nullable=False),
        Column("due_at", BigInteger(), nullable=False),
        Column("error", _text, nullable=False),
        Column("answer", _text),
        Column("updated_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("wish_id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_due", "outbox", ["state", "due_at"])
    op.create_index("uq_outbox_wish", "outbox", ["app_id", "user_id", "kind"], unique=True)


def _access() -> None:
    op.create_table(
        "keys",
        Column("key_id", _number, autoincrement=True, nullable=False),
        Column("kind", _text, nullable=False),
        Column("key_hash", LargeBinary(), nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text),
        Column("name", _text, nullable=False),
        Column("created_at", BigInteger(), nullable=False),
        Column("revoked_at", BigInteger()),
        PrimaryKeyConstraint("key_id", name=op.f("pk_keys")),
        UniqueConstraint("key_hash", name=op.f("uq_keys_key_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_keys_app", "keys", ["app_id", "kind"])
    op.create_table(
        "grants",
        Column("grant_id", _number, autoincrement=True, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("tier", _text, nullable=False),
        Column("reason", _text, nullable=False),
        Column("given_at", BigInteger(), nullable=False),
        Column("until_at", BigInteger()),
        Column("revoked_at", BigInteger()),
        PrimaryKeyConstraint("grant_id", name=op.f("pk_grants")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_grants_user", "grants", ["app_id", "user_id"])


def _installation() -> None:
    op.create_table(
        "litellm_ids",
        Column("mode", _text, nullable=False),
        Column("litellm_id", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("claimed_at", BigInteger(), nullable=False),
        Column("digest", _text),
        Column("budget_duration", _text),
        Column("provisioned_at", BigInteger()),
        PrimaryKeyConstraint("mode", "litellm_id", name=op.f("pk_litellm_ids")),
    )
    op.create_table(
        "alerts",
        Column("kind", _text, nullable=False),
        Column("subject", _text, nullable=False),
        Column("message", _text, nullable=False),
        Column("opened_at", BigInteger(), nullable=False),
        Column("last_at", BigInteger(), nullable=False),
        Column("count", BigInteger(), nullable=False),
        Column("resolved_at", BigInteger()),
        PrimaryKeyConstraint("kind", "subject", name=op.f("pk_alerts")),
    )
    op.create_table(
        "instance",
        Column("key", _text, nullable=False),
        Column("value", _text, nullable=False),
        PrimaryKeyConstraint("key", name=op.f("pk_instance")),
    )

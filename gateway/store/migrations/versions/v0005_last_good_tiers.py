"""The last good tier of each subscription, and the period and schedule of an entitlement.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, PrimaryKeyConstraint, Text

revision = "0005"
down_revision = "0004"

_text = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "last_good_tiers",
        Column("subscription_id", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("customer_id", _text, nullable=False),
        Column("tier", _text, nullable=False),
        Column("price_id", _text),
        Column("gives", Boolean(), nullable=False),
        Column("until_at", BigInteger()),
        Column("status", _text, nullable=False),
        Column("updated_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("subscription_id", name=op.f("pk_last_good_tiers")),
    )
    op.create_index("ix_last_good_tiers_user", "last_good_tiers", ["app_id", "user_id"])
    # Before, only the last decision recorded it.
    op.execute(
        "INSERT INTO last_good_tiers (subscription_id, app_id, user_id, customer_id, tier, price_id, gives, until_at,"
        " status, updated_at)"
        " SELECT subscription_id, MIN(app_id), MIN(user_id), MIN(customer_id), MIN(tier), MIN(price_id), TRUE,"
        " MIN(until_at), MIN(COALESCE(status, '')), MIN(updated_at) FROM entitlements"
        " WHERE source = 'subscription' AND subscription_id IS NOT NULL AND customer_id IS NOT NULL"
        " GROUP BY subscription_id"
    )
    op.add_column("entitlements", Column("period_end_at", BigInteger()))
    op.add_column("entitlements", Column("renews", Boolean()))
    op.add_column("entitlements", Column("pending_tier", _text))
    op.add_column("entitlements", Column("pending_at", BigInteger()))

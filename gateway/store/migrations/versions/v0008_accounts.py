"""The account in which an id of Stripe is valid becomes part of each row that has one; '' is our own account.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, text

revision = "0008"
down_revision = "0007"

_text = Text().with_variant(Text(collation="C"), "postgresql")
_KEYS = {
    "customers": "customer_id",
    "prices": "price_id",
    "last_good_tiers": "subscription_id",
    "disputes": "object_id",
}


def upgrade() -> None:
    for table, key in _KEYS.items():
        # SQLite cannot alter a primary key: alembic copies the table there.
        with op.batch_alter_table(table) as batch:
            batch.add_column(_account())
            batch.drop_constraint(op.f(f"pk_{table}"), type_="primary")
            batch.create_primary_key(op.f(f"pk_{table}"), ["account", key])
    for table in ("checkouts", "entitlements"):
        op.add_column(table, _account())


def _account() -> Column[str]:
    return Column("account", _text, nullable=False, server_default=text("''"))

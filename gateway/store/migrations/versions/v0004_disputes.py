"""Disputes, refunds and fraud warnings.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, PrimaryKeyConstraint, Text

revision = "0004"
down_revision = "0003"

_text = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "disputes",
        Column("object_id", _text, nullable=False),
        Column("kind", _text, nullable=False),
        Column("customer_id", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("remembered_at", BigInteger(), nullable=False),
        Column("wanted", BigInteger(), nullable=False),
        Column("open", Boolean(), nullable=False),
        Column("found", _text, nullable=False),
        PrimaryKeyConstraint("object_id", name=op.f("pk_disputes")),
    )
    op.create_index("ix_disputes_user", "disputes", ["app_id", "user_id"])

"""Notices to the apps of changes of tier.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, UniqueConstraint, text

revision = "0002"
down_revision = "0001"

_text = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "notices",
        Column("change_id", _text, nullable=False),
        Column("number", BigInteger(), nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("body", _text, nullable=False),
        Column("state", _text, nullable=False),
        Column("attempts", Integer(), nullable=False),
        Column("due_at", BigInteger()),
        Column("first_failed_at", BigInteger()),
        Column("last_status", Integer()),
        Column("error", _text, nullable=False),
        Column("created_at", BigInteger(), nullable=False),
        Column("done_at", BigInteger()),
        PrimaryKeyConstraint("change_id", name=op.f("pk_notices")),
        UniqueConstraint("number", name=op.f("uq_notices_number")),
    )
    op.create_index("ix_notices_user", "notices", ["app_id", "user_id", "number"])
    _partial_index("ix_notices_waiting", ["due_at", "app_id"], "state = 'waiting'")
    _partial_index("ix_notices_dead", ["app_id"], "state = 'dead'")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "notices", columns, sqlite_where=text(where), postgresql_where=text(where))

"""The change log of the gate and its counter, and the epoch of its numbers.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

import secrets

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, text

revision = "0009"
down_revision = "0008"

_text = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "gate_changes",
        Column("number", BigInteger(), autoincrement=False, nullable=False),
        Column("kind", _text, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("number", name=op.f("pk_gate_changes")),
    )
    op.create_table(
        "gate_change_counter",
        Column("counter", Integer(), autoincrement=False, nullable=False),
        Column("number", BigInteger(), nullable=False),
        Column("purged", BigInteger(), nullable=False),
        PrimaryKeyConstraint("counter", name=op.f("pk_gate_change_counter")),
    )
    op.execute("INSERT INTO gate_change_counter (counter, number, purged) VALUES (1, 0, 0)")
    op.execute(
        text("INSERT INTO instance (key, value) VALUES ('gate_epoch', :epoch)").bindparams(epoch=secrets.token_hex(8))
    )

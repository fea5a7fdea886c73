"""The table `outbox` becomes `provisioning`: one job per user, without the columns `kind` and `payload`.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text

revision = "0006"
down_revision = "0005"

_text = Text().with_variant(Text(collation="C"), "postgresql")
_number = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "provisioning",
        Column("job_id", _number, autoincrement=True, nullable=False),
        Column("app_id", _text, nullable=False),
        Column("user_id", _text, nullable=False),
        Column("version", BigInteger(), nullable=False),
        Column("state", _text, nullable=False),
        Column("attempts", Integer(), nullable=False),
        Column("due_at", BigInteger(), nullable=False),
        Column("error", _text, nullable=False),
        Column("answer", _text),
        Column("updated_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("job_id", name=op.f("pk_provisioning")),
        sqlite_autoincrement=True,
    )
    # No other kind was ever written. The ids are assigned again in the old order; nothing refers to them.
    op.execute(
        "INSERT INTO provisioning (app_id, user_id, version, state, attempts, due_at, error, answer, updated_at)"
        " SELECT app_id, user_id, version, state, attempts, due_at, error, answer, updated_at FROM outbox"
        " WHERE kind = 'litellm' ORDER BY wish_id"
    )
    op.create_index("uq_provisioning_user", "provisioning", ["app_id", "user_id"], unique=True)
    op.create_index("ix_provisioning_due", "provisioning", ["state", "due_at"])
    op.drop_table("outbox")

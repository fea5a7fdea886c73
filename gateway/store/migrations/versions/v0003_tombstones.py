"""Tombstones: forgotten users as hashes, so that a late event does not create them again.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "tombstones",
        Column("digest", LargeBinary(), nullable=False),
        Column("forgotten_at", BigInteger(), nullable=False),
        PrimaryKeyConstraint("digest", name=op.f("pk_tombstones")),
    )

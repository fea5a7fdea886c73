"""Tombstones: who was forgotten, as hashes, so that what comes late re-creates nobody.

Written out and not taken from `schema`: this step must do for ever what it did on the day it was made.
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

"""The concerns of an entitlement become JSON objects: they were arrays of kind, subject and message.

Does not import `schema`, because a released migration must never change.
"""

from __future__ import annotations

import json

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"

_READ = text("SELECT app_id, user_id, concerns FROM entitlements WHERE concerns <> '[]'")
_WRITE = text("UPDATE entitlements SET concerns = :concerns WHERE app_id = :app_id AND user_id = :user_id")


def upgrade() -> None:
    conn = op.get_bind()
    for row in conn.execute(_READ).all():
        concerns = [
            {"kind": kind, "subject": subject, "message": message}
            for kind, subject, message in json.loads(row.concerns)
        ]
        conn.execute(_WRITE, {"app_id": row.app_id, "user_id": row.user_id, "concerns": json.dumps(concerns)})

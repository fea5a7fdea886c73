"""Alembic's folder of migrations, run by `gateway.store.engine.migrate`."""

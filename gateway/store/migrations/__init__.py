"""Alembic's folder: one module a step, run by `gateway.store.engine.migrate`."""

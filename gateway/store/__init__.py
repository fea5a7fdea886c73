"""SQLite or PostgreSQL: customers, events, entitlements, keys, grants, notices and provisioning jobs.

`Store` runs writes and queries; each module has the statements of one noun, as functions of a connection.
"""

from gateway.store.store import Store

__all__ = ["Store"]

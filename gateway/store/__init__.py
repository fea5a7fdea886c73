"""SQLite or PostgreSQL: what was received, decided, promised and done, and who may ask.

`Store` runs jobs; one module per noun has the functions that a job calls with its connection.
"""

from gateway.store.store import Store

__all__ = ["Store"]

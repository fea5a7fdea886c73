"""The database itself: SQLite or PostgreSQL, the writer thread, migrations, backups."""

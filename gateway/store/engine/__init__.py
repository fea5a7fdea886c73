"""The database: SQLite or PostgreSQL, the writer thread, migrations, backups."""

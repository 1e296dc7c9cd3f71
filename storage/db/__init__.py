"""Engines, schema, migrations and locks of SQLite and PostgreSQL."""

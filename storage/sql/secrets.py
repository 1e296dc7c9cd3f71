"""Secrets that all processes on one database share. They survive restarts."""

import secrets as random

from sqlalchemy import select

from storage.db.engine import translate_db_errors
from storage.db.schema import secrets
from storage.sql.base import SqlStore
from storage.sql.dialect import conflict_insert

SECRET_BYTES = 32


class SecretQueries(SqlStore):
    """Reads named random secrets, and creates missing ones."""

    def shared_secret(self, name: str) -> bytes:
        """32 random bytes, the same for every process on this database. Created at the first call."""
        wanted = select(secrets.c.value).where(secrets.c.name == name)
        if found := self._read(wanted):
            return bytes.fromhex(found[0].value)
        fresh = {"name": name, "value": random.token_hex(SECRET_BYTES)}
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(conflict_insert(connection, secrets).values(fresh).on_conflict_do_nothing())
        return bytes.fromhex(self._read(wanted)[0].value)

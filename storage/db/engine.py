"""The database connection: engine, migrations, and the lock that allows only one server per SQLite file.

An engine belongs to the process that created it. Its methods block; never call them on an event loop.
"""

import contextlib
import fcntl
import functools
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError

from models.errors import StoreUnavailable
from storage.db.postgres import TimeoutConnection, open_postgres
from storage.db.schema import missing_columns
from storage.db.sqlite import FILE_MODE, make_private_database, make_private_folder

BUSY_TIMEOUT_S = 10
"""How long a write to SQLite waits for a write of another process."""
WAL_RETRY_S = 0.02
READ_ONLY = "only_reads"
"""Execution option of a connection that begins no transaction."""
MIGRATION_LOCK = 7_216_094_052
"""The key of the PostgreSQL advisory lock that allows one migration at a time. An arbitrary number."""
MIGRATION_TIMEOUT_S = 600.0
"""Maximum time of one migration statement on PostgreSQL, including the wait for another process's migration."""
MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(url: str) -> Engine:
    """Create the engine for `url`: sqlite:///PATH or postgresql://..."""
    if make_url(url).get_backend_name() != "sqlite":
        return open_postgres(make_url(url))
    make_private_folder(sqlite_file(url).parent)
    connect_args = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    # hide_parameters: errors may be logged, and the values of a row include the prompt.
    engine = create_engine(url, connect_args=connect_args, pool_size=20, max_overflow=30, hide_parameters=True)
    event.listen(engine, "do_connect", functools.partial(_keep_private, sqlite_file(url)))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    event.listen(engine, "checkout", functools.partial(_reject_removed_file, sqlite_file(url)))
    return engine


def read_only_engine(engine: Engine) -> Engine:
    """A view of the engine for read-only statements, each outside of a transaction."""
    if is_sqlite(engine):  # without a BEGIN it is; SQLAlchemy's AUTOCOMMIT accesses the file three times per statement
        return engine.execution_options(**{READ_ONLY: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def sqlite_file(url: str) -> Path:
    """The file that a SQLite url names."""
    return Path(make_url(url).database or "")


def is_sqlite(engine: Engine) -> bool:
    """Whether the database is SQLite, a file on this host."""
    return engine.dialect.name == "sqlite"


def _keep_private(file: Path, *_connecting: object) -> None:
    """Create the file before SQLite does: SQLite would use the mode that the umask of this process gives."""
    make_private_database(file)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # _begin_immediate sends BEGIN
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")


def _switch_to_wal(connection: Any) -> None:
    """Enable WAL. Retries, because SQLite ignores its busy timeout when two processes switch a new file at once."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte is the primary error code
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_S)
        else:
            return


def _reject_removed_file(file: Path, _connection: object, record: Any, _proxy: object) -> None:
    """Discard an open connection when its file was removed or replaced: its writes would be lost."""
    try:
        found = file.stat()
    except FileNotFoundError:
        raise DisconnectionError(f"{file} is gone") from None
    identity = (found.st_dev, found.st_ino)
    if record.info.setdefault("file", identity) != identity:
        raise DisconnectionError(f"{file} was replaced")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that starts with a read and then writes can fail at once with "database is locked".
    if not connection.get_execution_options().get(READ_ONLY):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def translate_db_errors() -> Iterator[None]:
    """Raise StoreUnavailable for every database error."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"the task store did not answer: {str(error).splitlines()[0]}") from error


def migrate(engine: Engine) -> None:
    """Migrate the tables to this version. Several processes may call it at once.

    A database that a newer version of the server has migrated stays unchanged: migrations are additive for one release,
    so this version can use it. Raises StoreUnavailable, also when an unreleased version created the tables.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with translate_db_errors(), engine.begin() as connection, contextlib.ExitStack() as stack:
        if not is_sqlite(engine):
            stack.enter_context(_migration_lock(connection))
        current = MigrationContext.configure(connection).get_current_revision()
        if current is None or current in known:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if missing := missing_columns(connection):
            raise StoreUnavailable(
                f"database_url: an unreleased version made this database, which lacks {', '.join(missing)}; move it "
                "away, and the next start makes a new one"
            )


@contextlib.contextmanager
def _migration_lock(connection: Connection) -> Iterator[None]:
    """Allow one migration at a time, with a statement timeout that is long enough for millions of rows."""
    driver = cast("TimeoutConnection", connection.connection.dbapi_connection)
    driver.timeout_s = MIGRATION_TIMEOUT_S
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
        yield
    finally:
        driver.timeout_s = TimeoutConnection.timeout_s


def sanitize_text(value: str) -> str:
    """Replace what a database cannot store: NUL characters are removed, lone surrogates become `?`."""
    return value.replace("\0", "").encode(errors="replace").decode()


class SqliteLock:
    """Prevents a second server from using the same SQLite file.

    All processes of one server share the lock. It is released when the last of them ends, also after a crash.
    """

    def __init__(self, url: str, server: str, timeout_s: float = 15.0) -> None:
        """Take the lock. `server` is a name that is unique to this server and the same in all of its processes.

        Waits up to `timeout_s` for the processes of a killed server to end. Raises StoreUnavailable.
        """
        path = Path(f"{sqlite_file(url)}.lock")
        make_private_folder(path.parent)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        deadline = time.monotonic() + timeout_s
        while not self._take(server):
            if time.monotonic() > deadline:
                holder = self._read()
                os.close(self._descriptor)
                raise StoreUnavailable(
                    f"database_url: {sqlite_file(url)} is in use by another server ({holder}); stop that one, or "
                    "give this one a file of its own, or use PostgreSQL"
                )
            time.sleep(0.2)

    def _take(self, server: str) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False  # another process holds the exclusive lock and is about to write its name
        else:
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, server.encode(), 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        if self._read() == server:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def _read(self) -> str:
        return os.pread(self._descriptor, 1000, 0).decode()

    def release(self) -> None:
        """Release the lock of this process."""
        os.close(self._descriptor)

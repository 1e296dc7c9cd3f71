"""The SQLite file from outside: is it whole, and a copy of it while the server writes.

Neither takes the server's lock: SQLite itself lets readers in beside a writer.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from storage.db.private_files import make_private_database

PAGES_PER_STEP = 256
"""A megabyte: so long at most does a copy hold up a write of the server."""


def check_integrity(file: Path) -> list[str]:
    """Say what is wrong with the database, nothing where it is whole. Raises FileNotFoundError, sqlite3.Error."""
    with _opened(file) as database:
        found = [str(row[0]) for row in database.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def back_up(file: Path, target: Path) -> int:
    """Copy the database as it is at one moment, and return the size of the copy in bytes.

    Raises FileNotFoundError, FileExistsError, sqlite3.Error; then no part of a copy is left.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already")
    unfinished = target.with_name(f".{target.name}.part")
    unfinished.unlink(missing_ok=True)
    make_private_database(unfinished)
    try:
        with _opened(file) as database, contextlib.closing(sqlite3.connect(unfinished)) as copy:
            database.backup(copy, pages=PAGES_PER_STEP)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without companions
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return target.stat().st_size


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that never makes a file."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no database at {file}")
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as database:
        yield database

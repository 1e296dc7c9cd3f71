"""Integrity check and backup of a SQLite file while the server runs.

Neither takes the server's lock: SQLite allows readers beside a writer.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from storage.db.private_files import make_private_database

PAGES_PER_STEP = 256
"""Pages per backup step: one megabyte. A step delays a write of the server by its own duration at most."""


def check_integrity(file: Path) -> list[str]:
    """List the defects of the database; empty when there are none. Raises FileNotFoundError, sqlite3.Error."""
    with _opened(file) as database:
        found = [str(row[0]) for row in database.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def back_up(file: Path, target: Path) -> int:
    """Copy the database as of one moment to `target`. Returns the size of the copy in bytes.

    Raises FileNotFoundError, FileExistsError, sqlite3.Error. On an error no partial copy is left.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already")
    unfinished = target.with_name(f".{target.name}.part")
    unfinished.unlink(missing_ok=True)
    make_private_database(unfinished)
    try:
        with _opened(file) as database, contextlib.closing(sqlite3.connect(unfinished)) as copy:
            database.backup(copy, pages=PAGES_PER_STEP)
            copy.execute("PRAGMA journal_mode=DELETE")  # so that the copy is a single file
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return target.stat().st_size


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection to an existing file; it never creates one."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no database at {file}")
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as database:
        yield database

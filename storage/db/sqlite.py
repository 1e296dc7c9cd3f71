"""A SQLite file: private to the server's user; checked and backed up while the server runs.

Neither takes the server's lock: SQLite allows readers beside a writer.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

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


FOLDER_MODE = 0o700
FILE_MODE = 0o600
SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


def make_private_folder(folder: Path) -> None:
    """Create a folder that only this user can enter. An existing folder keeps its mode: an operator may have set it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=FOLDER_MODE)


def make_private_database(file: Path) -> None:
    """Create a SQLite file that only this user can read, or remove other users' access to an existing one.

    SQLite gives the files beside it (`-wal`, `-shm`) the mode of the database. A file of another user stays unchanged.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    except FileExistsError:
        for suffix in SQLITE_SUFFIXES:
            with contextlib.suppress(OSError):
                file.with_name(file.name + suffix).chmod(FILE_MODE)
    except OSError:
        return  # SQLite will fail in the same way and report it as a database error

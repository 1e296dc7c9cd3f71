"""Creates files and folders that other users of the host cannot read: they hold prompts and the url signing secret."""

import contextlib
import os
from pathlib import Path

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

"""Keeps what the server stores for itself from other users of the host: prompts, and the secret that signs urls."""

import contextlib
import os
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter. One that is there keeps its mode: an operator may have chosen it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=FOLDER_MODE)


def make_private_database(file: Path) -> None:
    """Make a SQLite file that only this user can read, or take others' permission from one that is there.

    SQLite gives the files beside it (`-wal`, `-shm`) the mode of the database. One of another user stays as it is.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    except FileExistsError:
        for suffix in SQLITE_SUFFIXES:
            with contextlib.suppress(OSError):
                file.with_name(file.name + suffix).chmod(FILE_MODE)
    except OSError:
        return  # SQLite meets the same, and says it as a database's error

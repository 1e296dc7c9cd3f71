"""Temporary folders that outlive their process for a short time only: what a killed process left is found and deleted.

Each folder is locked by the process that uses it. The kernel releases the lock when the process ends, however it ends.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "ltx2-work-"
"""The beginning of the names of these folders, and of no others: an earlier version does not lock its own."""


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder, deleted at the end. A thread whose caller has left may still write into it."""
    folder, lock = _new_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def delete_abandoned_folders() -> None:
    """Delete the folders of processes that have ended without deleting them. Those of other users are left alone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _open(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _new_folder() -> tuple[Path, int]:
    """Create and lock a folder. Another process may delete it before it is locked; then the next one is tried."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):
            lock = _open(folder)
            with contextlib.suppress(OSError):  # some file systems have no locks; nobody can then take it for abandoned
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

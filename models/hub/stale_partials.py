"""Removes partial files of a killed download. huggingface_hub never resumes them: it starts a file with a new name.

A file that another process still writes is recognized by its lock, or by its age if the file system's locks do not
work.
"""

import contextlib
import time
from pathlib import Path

from models.hub.repo_ref import RepoRef

UNFINISHED = ".incomplete"
STALE_AFTER_S = 600.0
"""Age in seconds without a write after which no process is assumed to write the file."""


def remove_stale_partials(repository: RepoRef, cache_dir: Path) -> int:
    """Delete unfinished files of `repository` that no process writes. Returns the number of bytes freed."""
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repository.id, repo_type="model")
    files = list((cache_dir / name / "blobs").glob(f"*{UNFINISHED}"))
    return sum(_clear(file, cache_dir / ".locks" / name / f"{file.name.partition('.')[0]}.lock") for file in files)


def _clear(file: Path, lock: Path) -> int:
    """Delete one file, unless a process writes it. Returns its size in bytes, or 0."""
    from filelock import Timeout
    from huggingface_hub.utils._fixes import WeakFileLock

    with contextlib.suppress(Timeout, OSError), WeakFileLock(lock, timeout=0.01):
        found = file.stat()
        if time.time() - found.st_mtime > STALE_AFTER_S:
            file.unlink()
            return found.st_size
    return 0

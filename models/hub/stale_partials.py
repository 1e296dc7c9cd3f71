"""What a download left behind that was killed: huggingface_hub begins such a file anew, under another name.

A file that somebody still writes is known by its lock, or by its age where a file system has no locks that hold.
"""

import contextlib
import time
from pathlib import Path

from models.hub.repo_ref import RepoRef

UNFINISHED = ".incomplete"
STALE_AFTER_S = 600.0
"""Nothing was written for so long: nobody writes it."""


def remove_stale_partials(repository: RepoRef, cache_dir: Path) -> int:
    """Delete unfinished files of `repository` that nobody writes any more. Returns how many bytes that freed."""
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repository.id, repo_type="model")
    files = list((cache_dir / name / "blobs").glob(f"*{UNFINISHED}"))
    return sum(_clear(file, cache_dir / ".locks" / name / f"{file.name.partition('.')[0]}.lock") for file in files)


def _clear(file: Path, lock: Path) -> int:
    """Delete one file, unless it is written."""
    from filelock import Timeout
    from huggingface_hub.utils._fixes import WeakFileLock

    with contextlib.suppress(Timeout, OSError), WeakFileLock(lock, timeout=0.01):
        found = file.stat()
        if time.time() - found.st_mtime > STALE_AFTER_S:
            file.unlink()
            return found.st_size
    return 0

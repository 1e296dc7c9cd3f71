"""Downloads a Hugging Face hub repository and reports the progress. Imports huggingface_hub only when needed.

Token, mirror and offline mode come from the hub's own variables (HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

import contextlib
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from models.errors import ModelDiskFull
from models.hub.errors import translate_error
from models.hub.files import (
    FileSelection,
    RepoRef,
    find_in_user_cache,
    find_index,
    list_files,
    offers_base_variant,
    select_files,
)
from models.progress import Progress, ReportProgress, Stage

REPORT_EVERY_S = 0.5


def download(repository: RepoRef, cache_dir: Path, report: ReportProgress, *, wants_full: bool = False) -> Path:
    """Return the folder of `repository`: in the user's own hub cache if it is complete there, otherwise in `cache_dir`.

    `wants_full` selects the full transformer of a repository that has one (see models/checkpoint/base_variant.py). Asks
    the hub for its list of files; if the hub cannot be reached, the local files are used.

    Raises ModelUnavailable. An exception that `report` raises stops the download; files that are complete by then are
    kept.
    """
    report(Progress(Stage.DOWNLOADING))
    try:
        full = wants_full and offers_base_variant(repository, cache_dir)
        if (found := find_in_user_cache(repository, cache_dir, full=full)) is not None:
            return found
        wanted, missing_bytes = select_files(repository, cache_dir, full=full)
        remove_stale_partials(repository, cache_dir)
        _check_disk(repository, cache_dir, missing_bytes)
        return _download_files(wanted, cache_dir, missing_bytes, report)
    except Exception as exc:
        if explained := translate_error(repository, exc):
            raise explained from exc
        raise


def download_files(wanted: FileSelection, cache_dir: Path, report: ReportProgress) -> Path:
    """Return the folder of the repository in `cache_dir`, with the files of `wanted`. Downloads those that are missing.

    Raises as `download` does.
    """
    report(Progress(Stage.DOWNLOADING))
    try:
        listed = list_files(wanted, cache_dir) or ()
        missing_bytes = sum(each.file_size or 0 for each in listed if each.will_download)
        cache_dir.mkdir(parents=True, exist_ok=True)
        _check_disk(wanted.repository, cache_dir, missing_bytes)
        return _download_files(wanted, cache_dir, missing_bytes, report)
    except Exception as exc:
        if explained := translate_error(wanted.repository, exc):
            raise explained from exc
        raise


def find_download(repository: RepoRef, cache_dir: Path) -> Path | None:
    """The local folder of a download, complete or not, in `cache_dir` or the user's own cache. Uses no network."""
    from huggingface_hub import constants

    return find_index(repository, cache_dir) or find_index(repository, Path(constants.HF_HUB_CACHE))


def _check_disk(repository: RepoRef, cache_dir: Path, needed: int) -> None:
    free = shutil.disk_usage(cache_dir).free
    if needed > free:
        raise ModelDiskFull(
            f"{repository} needs {needed / 1e9:.1f} GB on disk, and {cache_dir} has {free / 1e9:.1f} GB free"
        )


class _Counter:
    """Counts bytes in the hub's threads. Setting `stop` ends those threads."""

    def __init__(self) -> None:
        self.bytes_done = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def progress(self, total: int) -> Progress:
        """The current progress, of `total` bytes."""
        return Progress(Stage.DOWNLOADING, bytes_done=self.bytes_done, bytes_total=total)

    def add(self, count: int) -> None:
        if self.stop.is_set():
            raise InterruptedError("the download was stopped")
        with self._lock:
            self.bytes_done += count


def _counting_bar(counter: _Counter) -> Any:
    """A progress bar class that draws nothing. Of the hub's three bars, only that of written bytes counts; all stop."""
    from tqdm.std import tqdm

    class CountingBar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts = str(kwargs.get("desc", "")).startswith("Reconstructing")
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            counter.add(int(n or 0) if self._counts else 0)

    return CountingBar


def _download_files(wanted: FileSelection, cache_dir: Path, total: int, report: ReportProgress) -> Path:
    """Download in a separate thread, so that `report` runs in the caller's thread and may raise.

    The bar stops a plain download at once. A download through Xet is stopped by it only between two files: Xet calls
    the bar from outside Python, where an exception is lost. Therefore `abort_xet_session` is called too, which the
    hub's client provides for Ctrl-C.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils._xet import abort_xet_session

    counter = _Counter()

    def fetch() -> str:
        return str(snapshot_download(tqdm_class=_counting_bar(counter), **wanted.arguments(cache_dir)))

    with ThreadPoolExecutor(1, thread_name_prefix="download") as pool:
        download: Future[str] = pool.submit(fetch)
        try:
            while not download.done():
                report(counter.progress(total))
                wait([download], timeout=REPORT_EVERY_S)
        except BaseException:
            counter.stop.set()
            abort_xet_session()  # type: ignore[no-untyped-call]
            raise
    folder = Path(download.result())
    report(counter.progress(total))
    return folder


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

"""Downloads a repository of the Hugging Face hub, and says how far it is. huggingface_hub is imported when needed.

Its token, mirror and offline mode hold, as its own variables set them (HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from models.errors import ModelDiskFull
from models.hub.errors import translate_error
from models.hub.files import FileSelection, find_in_user_cache, find_index, offers_base_variant, select_files
from models.hub.repo_ref import RepoRef
from models.hub.stale_partials import remove_stale_partials
from models.progress import Progress, ReportProgress, Stage

REPORT_EVERY_S = 0.5


def download(repository: RepoRef, cache_dir: Path, report: ReportProgress, *, wants_full: bool = False) -> Path:
    """The folder of `repository`: from the user's own cache of the hub if that has it whole, else in `cache_dir`.

    `wants_full` takes the full transformer of a repository that has one (see models/full_transformer). Asks the hub
    what there is; without it, what is here must do. Raises ModelUnavailable, and passes on what `report` raises, which
    ends the download; files that are whole by then are kept.
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


def find_download(repository: RepoRef, cache_dir: Path) -> Path | None:
    """The folder of a download that is here, whole or not, in `cache_dir` or in the user's own cache. Asks no hub."""
    from huggingface_hub import constants

    return find_index(repository, cache_dir) or find_index(repository, Path(constants.HF_HUB_CACHE))


def _check_disk(repository: RepoRef, cache_dir: Path, needed: int) -> None:
    free = shutil.disk_usage(cache_dir).free
    if needed > free:
        raise ModelDiskFull(
            f"{repository} needs {needed / 1e9:.1f} GB on disk, and {cache_dir} has {free / 1e9:.1f} GB free"
        )


class _Counter:
    """Bytes that have arrived, counted by the hub's threads; `stop` ends them."""

    def __init__(self) -> None:
        self.bytes_done = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def progress(self, total: int) -> Progress:
        """How far it is, of `total` bytes."""
        return Progress(Stage.DOWNLOADING, bytes_done=self.bytes_done, bytes_total=total)

    def add(self, count: int) -> None:
        if self.stop.is_set():
            raise InterruptedError("the download was stopped")
        with self._lock:
            self.bytes_done += count


def _counting_bar(counter: _Counter) -> Any:
    """A progress bar that draws nothing. Of the hub's three bars only the one of written bytes is counted; all stop."""
    from tqdm.std import tqdm

    class CountingBar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts = str(kwargs.get("desc", "")).startswith("Reconstructing")
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            counter.add(int(n or 0) if self._counts else 0)

    return CountingBar


def _download_files(wanted: FileSelection, cache_dir: Path, total: int, report: ReportProgress) -> Path:
    """Download in a thread of its own, so that `report` is called from the caller's and may raise.

    The bar ends a plain download where it stands, and one through Xet between two files: that one is called back from
    outside Python, where what is raised goes astray. Hence the second way, which the hub's client has for Ctrl-C.
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

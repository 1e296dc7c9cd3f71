"""Downloads a repository of the Hugging Face hub, and says how far it is. huggingface_hub is imported when needed.

Its token, mirror and offline mode hold, as its own variables set them (HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from models.checkpoint_files import INDEX, UNUSED_FILES, needed_files
from models.download_faults import explain
from models.errors import ModelDiskFull
from models.progress import Progress, ReportProgress, Stage
from models.repository import Repository

REPORT_EVERY_S = 0.5


def download(repository: Repository, cache_dir: Path, report: ReportProgress) -> Path:
    """The folder of `repository`: from the user's own cache of the hub if that has it whole, else in `cache_dir`.

    Asks the hub what there is; without it, what is here must do. Raises ModelUnavailable, and passes on what `report`
    raises, which ends the download; files that are whole by then are kept.
    """
    report(Progress(Stage.DOWNLOADING))
    try:
        if (found := _find_in_user_cache(repository, cache_dir)) is not None:
            return found
        patterns = _needed_files(repository, cache_dir)
        total = _missing_bytes(repository, cache_dir, patterns) or 0
        _check_disk(repository, cache_dir, total)
        return _download_files(repository, cache_dir, patterns, total, report)
    except Exception as exc:
        if explained := explain(repository, exc):
            raise explained from exc
        raise


def find_download(repository: Repository, cache_dir: Path) -> Path | None:
    """The folder of a download that is here, whole or not, in `cache_dir` or in the user's own cache. Asks no hub."""
    from huggingface_hub import constants

    return _find_index(repository, cache_dir) or _find_index(repository, Path(constants.HF_HUB_CACHE))


def _find_index(repository: Repository, cache_dir: Path) -> Path | None:
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository.id, INDEX, cache_dir, repository.revision)
    except errors.HFValidationError:  # no name that a repository can have: the hub's client says so when it is asked
        return None
    return Path(found).parent if isinstance(found, str) else None


def _find_in_user_cache(repository: Repository, cache_dir: Path) -> Path | None:
    """What another program of this user has downloaded already, if it is whole. Ours comes first, once it is begun."""
    from huggingface_hub import constants

    user_cache = Path(constants.HF_HUB_CACHE)
    folder = _find_index(repository, user_cache)
    if folder is None or _find_index(repository, cache_dir) is not None:
        return None
    return folder if _is_whole(repository, user_cache, needed_files(folder / INDEX)) else None


def _is_whole(repository: Repository, cache_dir: Path, patterns: Sequence[str]) -> bool:
    from huggingface_hub import errors, snapshot_download

    missing = _missing_bytes(repository, cache_dir, patterns)
    if missing is not None:
        return missing == 0
    try:
        snapshot_download(local_files_only=True, **_wanted(repository, cache_dir, patterns))
    except errors.LocalEntryNotFoundError:
        return False
    return True


def _needed_files(repository: Repository, cache_dir: Path) -> list[str]:
    from huggingface_hub import hf_hub_download

    return needed_files(Path(hf_hub_download(repository.id, INDEX, revision=repository.revision, cache_dir=cache_dir)))


def _missing_bytes(repository: Repository, cache_dir: Path, patterns: Sequence[str]) -> int | None:
    """How much there is to download. None where the hub cannot be asked and the cache must do."""
    from huggingface_hub import errors, snapshot_download

    bar = _counting_bar(_Counter())
    try:
        files = snapshot_download(dry_run=True, tqdm_class=bar, **_wanted(repository, cache_dir, patterns))
    except errors.DryRunError:
        return None
    return sum(file.file_size or 0 for file in files if file.will_download)


def _wanted(repository: Repository, cache_dir: Path, patterns: Sequence[str]) -> dict[str, Any]:
    return {
        "repo_id": repository.id,
        "revision": repository.revision,
        "cache_dir": cache_dir,
        "allow_patterns": list(patterns),
        "ignore_patterns": list(UNUSED_FILES),
    }


def _check_disk(repository: Repository, cache_dir: Path, needed: int) -> None:
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

    def add(self, count: int) -> None:
        if self.stop.is_set():
            raise InterruptedError("the download was stopped")
        with self._lock:
            self.bytes_done += count


def _counting_bar(counter: _Counter) -> Any:
    """A progress bar that draws nothing. Of the hub's three bars only the one of written bytes is counted."""
    from tqdm.std import tqdm

    class CountingBar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts = str(kwargs.get("desc", "")).startswith("Reconstructing")
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                counter.add(int(n or 0))

    return CountingBar


def _download_files(
    repository: Repository, cache_dir: Path, patterns: Sequence[str], total: int, report: ReportProgress
) -> Path:
    """Download in a thread of its own, so that `report` is called from the caller's and may raise."""
    from huggingface_hub import snapshot_download

    counter = _Counter()
    wanted = _wanted(repository, cache_dir, patterns)

    def fetch() -> str:
        return str(snapshot_download(tqdm_class=_counting_bar(counter), **wanted))

    with ThreadPoolExecutor(1, thread_name_prefix="download") as pool:
        download: Future[str] = pool.submit(fetch)
        try:
            while not download.done():
                report(Progress(Stage.DOWNLOADING, bytes_done=counter.bytes_done, bytes_total=total))
                wait([download], timeout=REPORT_EVERY_S)
        except BaseException:
            counter.stop.set()
            raise
    return Path(download.result())

"""Brings a checkpoint onto this machine: builds the tiny one, takes a folder, or downloads from the Hugging Face hub.

Knows no Ray and no HTTP; huggingface_hub is imported where it is needed. Every failure is a ModelUnavailable that
says what to do about it.
"""

import json
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelUnavailable
from models.names import TINY
from models.progress import Progress, ReportProgress, Stage
from models.tiny import build_tiny, tiny_folder

INDEX = "model_index.json"
OPTIONAL_COMPONENTS = ("processor", "prompt_enhancer", "duration_head")
"""Parts of newer checkpoints that rendering does not use: a prompt rewriter alone is 24 GB."""
REPORT_EVERY_S = 0.5
UNUSED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.msgpack", "*.h5", "*.fp16.*", "*.non_ema.*")
"""Older formats (some of which can run code when they are read) and second copies of the weights."""


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one revision: a branch, a tag or a commit. None is its main branch."""

    id: str
    revision: str | None

    @classmethod
    def parse(cls, model: str) -> "Repository":
        """Read `owner/name` or `owner/name@revision`. Raises ModelUnavailable for an empty revision."""
        name, at, revision = model.partition("@")
        if at and not revision:
            raise ModelUnavailable(f"{model!r} ends in @: a branch, a tag or a commit must follow it (owner/name@main)")
        return cls(name, revision or None)

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


def fetch_checkpoint(model: str, cache_dir: Path, report: ReportProgress) -> Path:
    """The folder of `model` on this machine, in the layout of diffusers.

    `model` is "tiny", a folder, or a repository of the hub (owner/name, or owner/name@revision); `cache_dir`
    keeps what is built or downloaded. Raises ModelUnavailable; what `report` raises ends a download (what is there
    already is kept).
    """
    try:
        if model == TINY:
            return build_tiny(cache_dir)
        if model and (folder := Path(model).expanduser()).is_dir():
            return folder
        if model.startswith(("/", ".", "~")) or model.partition("@")[0].count("/") != 1:
            raise ModelUnavailable(
                f"{model!r} is no folder on this machine, and no repository of the Hugging Face hub "
                "(owner/name, or owner/name@revision)"
            )
        return _download(Repository.parse(model), cache_dir, report)
    except PermissionError as exc:
        raise ModelUnavailable(f"no permission to write the model to {cache_dir}: {exc}") from exc
    except OSError as exc:
        raise ModelUnavailable(f"the model {model} could not be stored in {cache_dir}: {exc}") from exc


def find_checkpoint(model: str, cache_dir: Path) -> Path | None:
    """The folder of `model` if it is on this machine, whole or not; asks no hub. None if it is not."""
    from huggingface_hub import errors, try_to_load_from_cache

    if model == TINY:
        return found if (found := tiny_folder(cache_dir)).is_dir() else None
    if model and (folder := Path(model).expanduser()).is_dir():
        return folder
    try:
        repository = Repository.parse(model)
        index = try_to_load_from_cache(repository.id, INDEX, cache_dir, repository.revision)
    except (ModelUnavailable, errors.HFValidationError):
        return None
    return Path(index).parent if isinstance(index, str) else None


def components(index: Mapping[str, object]) -> tuple[str, ...]:
    """The components that a model_index.json names and that rendering needs."""
    return tuple(
        name
        for name, value in index.items()
        if isinstance(value, list) and value and value[0] is not None and name not in OPTIONAL_COMPONENTS
    )


def _download(repository: Repository, cache_dir: Path, report: ReportProgress) -> Path:
    report(Progress(Stage.DOWNLOADING))
    try:
        patterns = _needed_files(repository, cache_dir)
        total = _missing_bytes(repository, cache_dir, patterns)
        _check_disk(repository, cache_dir, total)
        return _download_files(repository, cache_dir, patterns, total, report)
    except Exception as exc:
        if explained := _explain(repository, exc):
            raise explained from exc
        raise


def _needed_files(repository: Repository, cache_dir: Path) -> list[str]:
    """Patterns of the files that rendering needs, from the repository's own index."""
    from huggingface_hub import hf_hub_download

    file = hf_hub_download(repository.id, INDEX, revision=repository.revision, cache_dir=cache_dir)
    index = json.loads(Path(file).read_text(encoding="utf-8"))
    return [INDEX, *(f"{name}/*" for name in components(index))]


def _missing_bytes(repository: Repository, cache_dir: Path, patterns: list[str]) -> int:
    """How much there is to download. 0 where the hub cannot be asked and the cache must do."""
    from huggingface_hub import errors, snapshot_download

    try:
        files = snapshot_download(
            repository.id,
            revision=repository.revision,
            cache_dir=cache_dir,
            allow_patterns=patterns,
            ignore_patterns=list(UNUSED_FILES),
            tqdm_class=_counting_bar(_Counter()),
            dry_run=True,
        )
    except errors.DryRunError:
        return 0
    return sum(file.file_size or 0 for file in files if file.will_download)


def _check_disk(repository: Repository, cache_dir: Path, needed: int) -> None:
    free = shutil.disk_usage(cache_dir).free
    if needed > free:
        raise ModelUnavailable(
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
    repository: Repository, cache_dir: Path, patterns: list[str], total: int, report: ReportProgress
) -> Path:
    """Download in a thread of its own, so that `report` is called from the caller's and may raise."""
    from huggingface_hub import snapshot_download

    counter = _Counter()
    with ThreadPoolExecutor(1, thread_name_prefix="download") as pool:
        download: Future[str] = pool.submit(
            snapshot_download,
            repository.id,
            revision=repository.revision,
            cache_dir=cache_dir,
            allow_patterns=patterns,
            ignore_patterns=list(UNUSED_FILES),
            tqdm_class=_counting_bar(counter),
        )
        try:
            while not download.done():
                report(Progress(Stage.DOWNLOADING, bytes_done=counter.bytes_done, bytes_total=total))
                wait([download], timeout=REPORT_EVERY_S)
        except BaseException:
            counter.stop.set()
            raise
    return Path(download.result())


def _explain(repository: Repository, error: Exception) -> ModelUnavailable | None:
    """What the hub's error means, in words; None for an error that is not the hub's."""
    reason = _why_absent(error) or _why_broken(error)
    return ModelUnavailable(f"{repository} {reason}") if reason else None


def _why_absent(error: Exception) -> str | None:
    """Why the repository, or what is needed of it, cannot be had; None for any other error."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return "is gated: accept its terms on huggingface.co, and set HF_TOKEN to a token of that account"
        case errors.RevisionNotFoundError():
            return "is not on the Hugging Face hub: the repository has no such branch, tag or commit"
        case errors.RepositoryNotFoundError():
            return "is not on the Hugging Face hub, or is private: check the name, and HF_TOKEN"
        case errors.IncompleteSnapshotError():
            return "is only in part on this machine, and the Hugging Face hub cannot be reached"
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            return "is not on this machine, and the Hugging Face hub cannot be reached: check the network"
        case _:
            return None


def _why_broken(error: Exception) -> str | None:
    """What went wrong on the way, or is wrong with what came; None for an error that is not the hub's."""
    from huggingface_hub import errors

    match error:
        case errors.EntryNotFoundError():
            return f"has no {INDEX}: it is not in the layout of diffusers"
        case errors.HFValidationError():
            return f"is not a name that a repository can have: {error}"
        case errors.HfHubHTTPError():
            return f"could not be downloaded: {error}"
        case ConnectionError() | TimeoutError():
            return f"could not be downloaded, the connection broke: {error}"
        case json.JSONDecodeError():
            return f"has a broken {INDEX}: {error}"
        case _:
            return None

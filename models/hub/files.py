"""Selects the files of a repository that are needed, and finds those on this machine. Reads its license.

Asks the hub for its list of files; if the hub cannot be reached, the local files are used. Imports huggingface_hub only
when needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from models.checkpoint.base_variant import BASE_VARIANT_CONFIG, has_base_variant
from models.checkpoint.files import INDEX, UNUSED_FILES, duplicate_weights, needed_files
from models.errors import ModelNotFound

_NAMES = ("config.json", "diffusion_pytorch_model*")
UPSAMPLER_FILES = (*_NAMES, *(f"latent_upsampler/{name}" for name in _NAMES))


@dataclass(frozen=True)
class RepoRef:
    """A hub repository at one revision: a branch, a tag or a commit. None is the main branch."""

    id: str
    revision: str | None

    @classmethod
    def parse(cls, model: str) -> "RepoRef":
        """Parse `owner/name` or `owner/name@revision`. Raises ModelNotFound for an empty revision."""
        name, at, revision = model.partition("@")
        if at and not revision:
            raise ModelNotFound(f"{model!r} ends in @: a branch, a tag or a commit must follow it (owner/name@main)")
        return cls(name, revision or None)

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


@dataclass(frozen=True)
class FileSelection:
    """The files of a repository that match one of `patterns` and none of `ignored`."""

    repository: RepoRef
    patterns: tuple[str, ...]
    ignored: tuple[str, ...] = UNUSED_FILES

    def without(self, patterns: Sequence[str]) -> "FileSelection":
        """A copy that also ignores files matching one of `patterns`."""
        return replace(self, ignored=(*self.ignored, *patterns))

    def takes(self, file: str) -> bool:
        """Whether no `ignored` pattern matches `file`, which must match one of `patterns` already."""
        return not any(fnmatch(file, pattern) for pattern in self.ignored)

    def arguments(self, cache_dir: Path) -> dict[str, Any]:
        """The arguments for huggingface_hub's `snapshot_download`."""
        return {
            "repo_id": self.repository.id,
            "revision": self.repository.revision,
            "cache_dir": cache_dir,
            "allow_patterns": list(self.patterns),
            "ignore_patterns": list(self.ignored),
        }


def select_files(repository: RepoRef, cache_dir: Path, *, full: bool) -> tuple[FileSelection, int]:
    """The needed files of `repository`, and the number of bytes still to be downloaded into `cache_dir`."""
    from huggingface_hub import hf_hub_download

    index = Path(hf_hub_download(repository.id, INDEX, revision=repository.revision, cache_dir=cache_dir))
    wanted = FileSelection(repository, tuple(needed_files(index, full=full)))
    listed = list_files(wanted, cache_dir)
    if listed is None:
        return wanted.without(duplicate_weights(_names_under(index.parent))), 0
    wanted = wanted.without(duplicate_weights([file.filename for file in listed]))
    return wanted, sum(file.file_size or 0 for file in listed if file.will_download and wanted.takes(file.filename))


def find_index(repository: RepoRef, cache_dir: Path) -> Path | None:
    """The folder in `cache_dir` with the repository's model_index.json, or None. Does not contact the hub."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository.id, INDEX, cache_dir, repository.revision)
    except errors.HFValidationError:  # not a valid repository name; the hub's client reports that when it is called
        return None
    return Path(found).parent if isinstance(found, str) else None


def find_in_user_cache(repository: RepoRef, cache_dir: Path, *, full: bool) -> Path | None:
    """The folder of a complete download in the user's hub cache. None once a download in `cache_dir` has begun."""
    from huggingface_hub import constants

    user_cache = Path(constants.HF_HUB_CACHE)
    folder = find_index(repository, user_cache)
    if folder is None or find_index(repository, cache_dir) is not None:
        return None
    wanted = FileSelection(repository, tuple(needed_files(folder / INDEX, full=full)))
    return folder if _is_whole(wanted, user_cache, folder) else None


def offers_base_variant(repository: RepoRef, cache_dir: Path) -> bool:
    """Whether a cache or the hub has a full transformer (see models/checkpoint/base_variant.py)."""
    from huggingface_hub import constants, errors, hf_hub_download

    found = find_index(repository, Path(constants.HF_HUB_CACHE))
    if found is not None and has_base_variant(found):
        return True
    try:
        hf_hub_download(repository.id, BASE_VARIANT_CONFIG, revision=repository.revision, cache_dir=cache_dir)
    except (errors.EntryNotFoundError, errors.LocalEntryNotFoundError):
        return False
    return True


def _is_whole(wanted: FileSelection, cache_dir: Path, folder: Path) -> bool:
    from huggingface_hub import errors, snapshot_download

    listed = list_files(wanted, cache_dir)
    if listed is not None:
        names = [file.filename for file in listed]
        wanted = wanted.without(duplicate_weights(names))
        return all((folder / name).exists() for name in names if wanted.takes(name))
    wanted = wanted.without(duplicate_weights(_names_under(folder)))
    try:
        snapshot_download(local_files_only=True, **wanted.arguments(cache_dir))
    except errors.LocalEntryNotFoundError:
        return False
    return True


def list_files(wanted: FileSelection, cache_dir: Path) -> list[Any] | None:
    """The hub's list of files, as huggingface_hub returns it. None if the hub cannot be reached."""
    from huggingface_hub import errors, snapshot_download
    from tqdm.std import tqdm

    class NoBar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    try:
        return list(snapshot_download(dry_run=True, tqdm_class=NoBar, **wanted.arguments(cache_dir)))
    except errors.DryRunError:
        return None


def _names_under(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in folder.glob("*/*")]


OTHER = "other"
"""The hub's value for a license without a standard name. The card then has `license_name`."""


@dataclass(frozen=True)
class License:
    """The license's name, and the link to its text if the card has one."""

    name: str
    link: str | None

    def __str__(self) -> str:
        return self.name if self.link is None else f"{self.name} ({self.link})"


def find_license(repository: RepoRef) -> License | None:
    """The license of `repository`, or None if its card has none or the hub cannot be reached."""
    import httpx2
    from huggingface_hub import HfApi, errors

    try:
        card = HfApi().model_info(repository.id, revision=repository.revision).card_data
    except (errors.HfHubHTTPError, errors.HFValidationError, httpx2.TransportError, OSError):
        return None
    if card is None or not card.license:
        return None
    name = card.license_name if card.license == OTHER and card.license_name else card.license
    return License(str(name), _address(repository, card.license_link))


def _address(repository: RepoRef, link: str | None) -> str | None:
    """A card's link as a URL. The card may name a file of its own repository."""
    if not link or link.startswith("http"):
        return link or None
    return f"https://huggingface.co/{repository.id}/blob/{repository.revision or 'main'}/{link}"

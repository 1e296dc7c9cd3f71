"""Brings a checkpoint onto this machine: builds the tiny one, takes a folder, or downloads from the Hugging Face hub.

Knows no Ray and no HTTP. Every failure is a ModelUnavailable that says what to do about it.
"""

from pathlib import Path

from models.download import download, find_download
from models.errors import ModelNotFound, ModelUnavailable
from models.names import TINY
from models.progress import ReportProgress
from models.repository import Repository
from models.tiny import build_tiny, tiny_folder


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
        if not is_repository(model):
            raise ModelNotFound(
                f"{model!r} is no folder on this machine, and no repository of the Hugging Face hub "
                "(owner/name, or owner/name@revision)"
            )
        return download(Repository.parse(model), cache_dir, report)
    except PermissionError as exc:
        raise ModelUnavailable(f"no permission to write the model to {cache_dir}: {exc}") from exc
    except OSError as exc:
        raise ModelUnavailable(f"the model {model} could not be stored in {cache_dir}: {exc}") from exc


def find_checkpoint(model: str, cache_dir: Path) -> Path | None:
    """The folder of `model` if it is on this machine, whole or not. Builds nothing and asks no hub."""
    if model == TINY:
        return found if (found := tiny_folder(cache_dir)).is_dir() else None
    if model and (folder := Path(model).expanduser()).is_dir():
        return folder
    return find_download(Repository.parse(model), cache_dir) if is_repository(model) else None


def is_repository(model: str) -> bool:
    """Whether `model` is spelt as a repository of the hub is."""
    return not model.startswith(("/", ".", "~")) and model.partition("@")[0].count("/") == 1

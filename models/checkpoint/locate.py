"""Brings a checkpoint onto this machine: builds the tiny one, takes a folder, or downloads from the Hugging Face hub.

Knows no Ray and no HTTP. Every failure is a ModelUnavailable that says what to do about it.
"""

from pathlib import Path

from models.checkpoint.base_variant import has_base_variant, materialize, view_path
from models.checkpoint.profile import CheckpointType
from models.checkpoint.tiny import build_tiny, tiny_folder
from models.errors import ModelNotFound, ModelUnavailable
from models.hub.download import download, find_download
from models.hub.repo_ref import RepoRef
from models.names import TINY
from models.progress import ReportProgress


def fetch_checkpoint(
    model: str, cache_dir: Path, report: ReportProgress, checkpoint_type: CheckpointType = CheckpointType.AUTO
) -> Path:
    """The folder of `model` on this machine, in the layout of diffusers.

    `model` is "tiny", a folder, or a repository of the hub (owner/name, or owner/name@revision); `cache_dir`
    keeps what is built or downloaded. `training` says which transformer is wanted of a checkpoint that has two.
    Raises ModelUnavailable; what `report` raises ends a download (what is there already is kept).
    """
    try:
        if model == TINY:
            return build_tiny(cache_dir)
        folder = find_folder(model) or _download(model, cache_dir, report, checkpoint_type)
        return (
            materialize(folder, cache_dir)
            if checkpoint_type is CheckpointType.BASE and has_base_variant(folder)
            else folder
        )
    except PermissionError as exc:
        raise ModelUnavailable(f"no permission to write the model to {cache_dir}: {exc}") from exc
    except OSError as exc:
        raise ModelUnavailable(f"the model {model} could not be stored in {cache_dir}: {exc}") from exc


def find_checkpoint(model: str, cache_dir: Path, checkpoint_type: CheckpointType = CheckpointType.AUTO) -> Path | None:
    """The folder of `model` if it is on this machine, whole or not. Builds nothing and asks no hub."""
    if model == TINY:
        return found if (found := tiny_folder(cache_dir)).is_dir() else None
    folder = find_folder(model)
    if folder is None and is_repository(model):
        folder = find_download(RepoRef.parse(model), cache_dir)
    if folder is None or checkpoint_type is not CheckpointType.BASE:
        return folder
    return view if (view := view_path(folder, cache_dir)).exists() else folder


def find_folder(model: str) -> Path | None:
    """The folder that `model` names, if it names one that is there."""
    try:
        folder = Path(model).expanduser()
        return folder if model and folder.is_dir() else None
    except (OSError, RuntimeError):  # a name that no file can have, or the home of nobody
        return None


def is_repository(model: str) -> bool:
    """Whether `model` is spelt as a repository of the hub is."""
    return not model.startswith(("/", ".", "~")) and model.partition("@")[0].count("/") == 1


def _download(model: str, cache_dir: Path, report: ReportProgress, checkpoint_type: CheckpointType) -> Path:
    if not is_repository(model):
        raise ModelNotFound(
            f"{model!r} is no folder on this machine, and no repository of the Hugging Face hub "
            "(owner/name, or owner/name@revision)"
        )
    return download(RepoRef.parse(model), cache_dir, report, wants_full=checkpoint_type is CheckpointType.BASE)

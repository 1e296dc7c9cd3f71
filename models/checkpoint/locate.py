"""Makes a checkpoint available locally: built in, in a folder, or downloaded from the Hugging Face hub.

Does not import Ray or an HTTP framework. Every failure is a ModelUnavailable whose message names the remedy.
"""

from pathlib import Path

from models.checkpoint.base_variant import has_base_variant, materialize, view_path
from models.checkpoint.profile import CheckpointType
from models.checkpoint.tiny import build_tiny, tiny_folder
from models.checkpoint.upsampler import AUTO, OFF, check_upsampler, find_upsampler
from models.errors import ModelNotFound, ModelUnavailable
from models.hub.download import download, download_files, find_download
from models.hub.files import UPSAMPLER_FILES, FileSelection, RepoRef
from models.names import DEMO, TINY
from models.progress import ReportProgress

DEMO_FOLDER = Path(__file__).parent / "demo"
"""The demo model's checkpoint: data of this package."""


def fetch_checkpoint(
    model: str, cache_dir: Path, report: ReportProgress, checkpoint_type: CheckpointType = CheckpointType.AUTO
) -> Path:
    """Return the local folder of `model`, in the diffusers layout.

    `model` is "demo", "tiny", a folder, or a hub repository (owner/name, or owner/name@revision). Built and downloaded
    models are kept in `cache_dir`. `checkpoint_type` selects the transformer of a checkpoint that has two.

    Raises ModelUnavailable. An exception that `report` raises stops a download; files that are complete by then are
    kept.
    """
    try:
        if model == DEMO:
            return DEMO_FOLDER
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


def fetch_upsampler(setting: str, model: str, folder: Path, cache_dir: Path, report: ReportProgress) -> Path | None:
    """Return the folder of the latent upsampler for the checkpoint in `folder`, or None if there is none to load.

    `setting` is "auto", "off", a folder or a hub repository (see models/checkpoint/upsampler.py). Raises
    ModelUnavailable if the one that the setting names is missing or broken.
    """
    if setting == OFF:
        return None
    found = find_upsampler(folder) if setting == AUTO else None
    source = model if setting == AUTO else setting
    if found is None and (named := find_folder(source)) is not None:
        found = find_upsampler(named)
    elif found is None and is_repository(source):
        found = find_upsampler(_download_upsampler(RepoRef.parse(source), cache_dir, report))
    if found is None and setting != AUTO:
        raise ModelNotFound(f"generator.latent_upsampler is {setting!r}, where no latent upsampler is")
    if found is not None:
        check_upsampler(found)
    return found


def _download_upsampler(repository: RepoRef, cache_dir: Path, report: ReportProgress) -> Path:
    """The folder of a repository with the files of its upsampler, as many as it has of them."""
    try:
        return download_files(FileSelection(repository, UPSAMPLER_FILES), cache_dir, report)
    except OSError as exc:
        raise ModelUnavailable(f"the upsampler of {repository} could not be stored in {cache_dir}: {exc}") from exc


def find_checkpoint(model: str, cache_dir: Path, checkpoint_type: CheckpointType = CheckpointType.AUTO) -> Path | None:
    """The local folder of `model`, complete or not, or None. Builds nothing and does not contact the hub."""
    if model == DEMO:
        return DEMO_FOLDER
    if model == TINY:
        return found if (found := tiny_folder(cache_dir)).is_dir() else None
    folder = find_folder(model)
    if folder is None and is_repository(model):
        folder = find_download(RepoRef.parse(model), cache_dir)
    if folder is None or checkpoint_type is not CheckpointType.BASE:
        return folder
    return view if (view := view_path(folder, cache_dir)).exists() else folder


def find_folder(model: str) -> Path | None:
    """`model` as a path, if it is an existing folder; otherwise None."""
    try:
        folder = Path(model).expanduser()
        return folder if model and folder.is_dir() else None
    except (OSError, RuntimeError):  # the name is not a valid file name, or names a home folder of an unknown user
        return None


def is_repository(model: str) -> bool:
    """Whether `model` has the form of a hub repository id."""
    return not model.startswith(("/", ".", "~")) and model.partition("@")[0].count("/") == 1


def _download(model: str, cache_dir: Path, report: ReportProgress, checkpoint_type: CheckpointType) -> Path:
    if not is_repository(model):
        raise ModelNotFound(
            f"{model!r} is neither a folder on this machine nor a repository of the Hugging Face hub "
            "(owner/name, or owner/name@revision)"
        )
    return download(RepoRef.parse(model), cache_dir, report, wants_full=checkpoint_type is CheckpointType.BASE)

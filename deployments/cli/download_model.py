"""Implements `make weights`: downloads a model's files into the server's cache before the first task needs them."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from deployments.settings import Settings, SettingsError
from models.checkpoint.locate import fetch_checkpoint, fetch_upsampler, find_folder, is_repository
from models.checkpoint.profile import CheckpointType, read_profile
from models.checkpoint.upsampler import AUTO
from models.checkpoint.validate import check_checkpoint
from models.errors import ModelUnavailable
from models.hub.files import RepoRef, find_license
from models.lora.files import fetch_loras
from models.lora.source import LoraSource
from models.names import BUILT_IN, REAL_MODEL_NAME
from models.progress import Progress, ReportProgress

PRINT_INTERVAL_S = 5.0
LICENSE_TERMS = (
    'The weights have terms of their own: read https://huggingface.co/{id}, and "The weights" in README.md, before you '
    "use them."
)

Echo = Callable[[str], None]


def prefetch_model(
    model: str,
    cache_dir: Path,
    say: Echo,
    checkpoint_type: CheckpointType = CheckpointType.AUTO,
    latent_upsampler: str = AUTO,
) -> Path:
    """Download the files of `model` that rendering uses into `cache_dir`. Files that are there already are kept.

    Of a distilled model that is also its latent upsampler, or the one that the setting names.

    `say` prints one line; it prints the license before the download starts. Returns the folder of the checkpoint.
    Raises ModelUnavailable, also when the files are broken or are not an LTX-2 checkpoint.
    """
    model = REAL_MODEL_NAME if model == "auto" else model
    say(f"{model} -> {cache_dir}")
    if model not in BUILT_IN and find_folder(model) is None and is_repository(model):
        _print_license_terms(RepoRef.parse(model), say)
    folder = fetch_checkpoint(model, cache_dir, _progress_printer(say), checkpoint_type)
    profile = read_profile(folder, checkpoint_type, model)
    try:
        check_checkpoint(folder)
    except OSError as exc:
        raise ModelUnavailable(f"{model} could not be read: {exc}") from exc
    if profile.sigmas is not None:
        upsampler = fetch_upsampler(latent_upsampler, model, folder, cache_dir, _progress_printer(say))
        say("no latent upsampler: `upscale` is refused" if upsampler is None else f"latent upsampler: {upsampler}")
    say(f"the model is complete, in {folder}")
    say(f"the server will run it as {profile.summary}")
    return folder


def prefetch_loras(sources: Sequence[LoraSource], cache_dir: Path, say: Echo) -> None:
    """Download the files of the LoRAs into `cache_dir`. Raises ModelUnavailable."""
    for each in sources:
        if each.repository is not None:
            _print_license_terms(RepoRef.parse(each.repository), say)
    for found in fetch_loras(sources, cache_dir, _progress_printer(say)):
        say(f"the LoRA {found.name} is complete, in {found.file}")


def _print_license_terms(repository: RepoRef, say: Echo) -> None:
    found = find_license(repository)
    say(f"license: {found or 'unknown; the hub names none or does not answer'}")
    say(LICENSE_TERMS.format(id=repository.id))


def _progress_printer(say: Echo) -> ReportProgress:
    """Make a callback that prints the progress of a download every PRINT_INTERVAL_S seconds."""
    said_at = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal said_at
        if time.monotonic() - said_at < PRINT_INTERVAL_S or not progress.bytes_total:
            return
        said_at = time.monotonic()
        say(f"{progress.bytes_done / 1e9:.1f} of {progress.bytes_total / 1e9:.1f} GB")

    return report


def main() -> None:
    """Read the config named by the first argument. A second argument overrides its `model`."""
    config = yaml.safe_load(Path(sys.argv[1]).read_text())
    chosen = sys.argv[2] if len(sys.argv) > 2 else ""  # noqa: PLR2004
    try:
        for application in config["applications"]:
            settings = Settings.model_validate(application.get("args") or {}).with_absolute_paths()
            generator = settings.generator
            named = (generator.checkpoint_type, generator.latent_upsampler)
            prefetch_model(chosen or settings.model, settings.cache_dir, _print, *named)
            prefetch_loras(generator.lora_sources, settings.cache_dir, _print)
    except (SettingsError, ModelUnavailable) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the downloaded part is kept, and the next run continues from there")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Implements `make weights`: downloads a model's files into the server's cache before the first task needs them."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from deployments.settings import Settings, SettingsError
from models.checkpoint.locate import fetch_checkpoint, find_folder, is_repository
from models.checkpoint.profile import CheckpointProfile, CheckpointType, read_profile
from models.checkpoint.upsampler import AUTO
from models.checkpoint.validate import check_checkpoint
from models.errors import ModelUnavailable
from models.hub.files import RepoRef, find_license
from models.lora.distilled import OFF as NO_DISTILLED_LORA
from models.lora.files import fetch_loras
from models.lora.source import LoraSource
from models.ltx2.options import LoadOptions
from models.ltx2.stage_parts import StageParts, fetch_stage_parts
from models.names import BUILT_IN, REAL_MODEL_NAME
from models.progress import Progress, ReportProgress
from models.request.upscaling import lacks_distilled_lora

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
    *,
    latent_upsampler: str = AUTO,
    distilled_lora: str = NO_DISTILLED_LORA,
) -> Path:
    """Download the files of `model` that rendering uses into `cache_dir`. Files that are there already are kept.

    That is also its latent upsampler, and of a base model its distilled LoRA, as the settings say.

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
    options = LoadOptions(latent_upsampler=latent_upsampler, distilled_lora=distilled_lora)
    report = _progress_printer(say)
    parts, profile = fetch_stage_parts(options, model, folder, profile, cache_dir=cache_dir, report=report)
    for line in _describe_stages(parts, profile):
        say(line)
    say(f"the model is complete, in {folder}")
    say(f"the server will run it as {profile.summary}")
    return folder


def _describe_stages(parts: StageParts, profile: CheckpointProfile) -> Iterator[str]:
    if lacks_distilled_lora(profile):
        yield "no distilled LoRA: `upscale` is refused"
    elif parts.upsampler is None:
        yield "no latent upsampler: `upscale` is refused"
    else:
        yield f"latent upsampler: {parts.upsampler}"
    if parts.distilled_lora is not None:
        yield f"distilled LoRA: {parts.distilled_lora.file}"


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
            prefetch_model(
                chosen or settings.model,
                settings.cache_dir,
                _print,
                generator.checkpoint_type,
                latent_upsampler=generator.latent_upsampler,
                distilled_lora=generator.distilled_lora,
            )
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

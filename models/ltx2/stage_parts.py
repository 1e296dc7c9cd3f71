"""Finds or downloads what two stages need beside the checkpoint: the latent upsampler, and for a base one its LoRA."""

from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoint.locate import fetch_upsampler
from models.checkpoint.profile import CheckpointProfile
from models.lora.distilled import OFF, fetch_distilled_lora
from models.lora.files import LoraFile
from models.ltx2.options import LoadOptions
from models.progress import ReportProgress


@dataclass(frozen=True)
class StageParts:
    """The folder of the upsampler, and the file of the distilled LoRA. None is not there, or not needed."""

    upsampler: Path | None = None
    distilled_lora: LoraFile | None = None


def fetch_stage_parts(
    options: LoadOptions,
    model: str,
    folder: Path,
    profile: CheckpointProfile,
    *,
    cache_dir: Path,
    report: ReportProgress,
) -> tuple[StageParts, CheckpointProfile]:
    """What the checkpoint in `folder` needs for two stages, and its profile with what was found.

    A base checkpoint needs both, so neither is loaded without the other. A distilled one needs no LoRA. Raises
    ModelUnavailable if one that a setting names is missing or broken.
    """
    is_base = profile.sigmas is None
    if is_base and options.distilled_lora == OFF:
        return StageParts(), replace(profile, distilled_lora=False)
    upsampler = fetch_upsampler(options.latent_upsampler, model, folder, cache_dir, report)
    lora = None
    if is_base and upsampler is not None:
        lora = fetch_distilled_lora(options.distilled_lora, model, folder, cache_dir, report)
    found = replace(profile, upsampler=upsampler is not None, distilled_lora=True if is_base else None)
    return StageParts(upsampler, lora), found

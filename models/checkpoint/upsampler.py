"""Finds the latent upsampler that two stages need: beside the checkpoint, or where the operator says.

It is a model of its own, `LTX2LatentUpsamplerModel`. Lightricks' repositories have it in a folder that their index does
not name. A base checkpoint uses it together with its distilled LoRA (models/lora/distilled.py).
"""

from dataclasses import replace
from pathlib import Path

from models.checkpoint.profile import CheckpointProfile
from models.checkpoint.validate import check_weights, read_object
from models.errors import ModelBroken, ModelUnavailable
from models.memory.offload_plan import UPSAMPLER

AUTO = "auto"
"""The checkpoint's own upsampler, if it has one."""
OFF = "off"
CONFIG = "config.json"
CLASS = "LTX2LatentUpsamplerModel"


def find_upsampler(folder: Path) -> Path | None:
    """The folder of an upsampler: `folder` itself, or the one in it as in a checkpoint. None if there is none."""
    for candidate in (folder / UPSAMPLER, folder):
        if (config := candidate / CONFIG).is_file() and read_object(config).get("_class_name") == CLASS:
            return candidate
    return None


def check_upsampler(folder: Path) -> None:
    """Check that an upsampler's files are whole, and that it doubles height and width alone. Raises ModelUnavailable.

    A missing key of its config has diffusers' default, which is that of Lightricks' upsampler.
    """
    config = read_object(folder / CONFIG)
    doubles = config.get("spatial_upsample", True) and config.get("rational_spatial_scale", 2.0) == 2.0  # noqa: PLR2004
    if not doubles or config.get("temporal_upsample", False):
        raise ModelUnavailable(f"the upsampler in {folder} does not double height and width, and only these")
    try:
        check_weights(folder.parent, folder.name)
    except OSError as exc:
        raise ModelBroken(f"the upsampler in {folder} cannot be read: {exc}") from exc


def note_upsampler(profile: CheckpointProfile, setting: str, folder: Path) -> CheckpointProfile:
    """The profile of the checkpoint in `folder`, with what its files and the setting tell about the upsampler."""
    if setting == OFF:
        return replace(profile, upsampler=False)
    return replace(profile, upsampler=True if setting != AUTO or find_upsampler(folder) is not None else None)

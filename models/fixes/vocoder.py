"""A vocoder with bandwidth extension works in float32: in bfloat16 its hundred convolutions add up what each rounds.

It must be built so too. diffusers makes a module in the type that it is loaded in, and the filter that resamples the
waveform is in no file: in bfloat16 its sines and its sum are off by more than rounding, for good.
"""

from pathlib import Path
from typing import Any

from models.checkpoint.files import INDEX
from models.checkpoint.validate import read_object

VOCODER = "vocoder"
WITH_EXTENSION = "LTX2VocoderWithBWE"
"""diffusers' class for it, as a checkpoint's index names it. That of LTX-2 (19B) is another, and stays in bfloat16."""


def run_in_float32(folder: Path) -> bool:
    """Whether the checkpoint in `folder` has a vocoder that must be float32."""
    kind = read_object(folder / INDEX).get(VOCODER)
    return isinstance(kind, list) and WITH_EXTENSION in kind


def load_vocoder(folder: Path, how: dict[str, Any]) -> Any:
    """The vocoder of `folder` in float32, loaded as `how` says in all else."""
    import torch
    from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE

    return LTX2VocoderWithBWE.from_pretrained(folder, subfolder=VOCODER, **{**how, "dtype": torch.float32})

"""Runs a vocoder with bandwidth extension in float32.

In bfloat16, the rounding errors of its hundred convolutions add up.

The vocoder must also be built in float32. diffusers builds a module in the dtype that it is loaded in. The resampling
filter is computed then and is in no file: in bfloat16, its sines and its sum would keep an error larger than rounding.
"""

from pathlib import Path
from typing import Any

from models.checkpoint.files import INDEX
from models.checkpoint.validate import read_object

VOCODER = "vocoder"
WITH_EXTENSION = "LTX2VocoderWithBWE"
"""diffusers' class for such a vocoder, as named in model_index.json. LTX-2 (19B) has another class and stays in
bfloat16."""


def run_in_float32(folder: Path) -> bool:
    """Whether the checkpoint in `folder` has a vocoder that must be float32."""
    kind = read_object(folder / INDEX).get(VOCODER)
    return isinstance(kind, list) and WITH_EXTENSION in kind


def load_vocoder(folder: Path, how: dict[str, Any]) -> Any:
    """Load the vocoder of `folder` in float32. `how` holds all other arguments of `from_pretrained`."""
    import torch
    from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE

    return LTX2VocoderWithBWE.from_pretrained(folder, subfolder=VOCODER, **{**how, "dtype": torch.float32})

"""How large the components of a checkpoint are once they are loaded, from the headers of its files. Knows no torch.

A load makes one kind of number of all weights, but float32 of some vocoders. What is stored so already is mapped from
its file and costs no host memory of its own; what is stored otherwise, such as float32, is made anew beside it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from models.checkpoint.files import INDEX, components, weight_files
from models.checkpoint.profile import BLOCKS_OF_LTX2
from models.fixes.vocoder import VOCODER, run_in_float32
from models.memory.offload_plan import TEXT_ENCODER, TRANSFORMER, Sizes

STORED_AS = {"bfloat16": "BF16", "float32": "F32"}
"""What the headers call the numbers that a load makes."""
BLOCKS = "transformer_blocks."
"""What the names of all weights begin with that are in a block of the transformer."""
ROUNDED = (".to_q", ".to_k", ".to_v", ".to_out.0", "ff.net.0.proj", "ff.net.2")
"""How the names of those layers in a block end whose weights fp8 rounds: all attention and feed-forward layers."""
SCALE_BYTES = 2
"""Of each row of a rounded weight."""
NUMBER_BYTES = {"bfloat16": 2, "float32": 4}


def in_4_bits(name: str, dimensions: int) -> bool:
    """Whether a weight by this name is a matrix of the language model's layers, which `text_encoder_dtype` rounds.

    Embeddings and norms stay as they are, as does what reads images, which no render calls.
    """
    return dimensions > 1 and "language_model." in name and ".layers." in name


def measure_sizes(folder: Path, dtype: str = "bfloat16") -> Sizes:
    """Sizes of the checkpoint that diffusers saved in `folder`, loaded as `dtype`."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    config = json.loads((folder / TRANSFORMER / "config.json").read_text(encoding="utf-8"))
    dtypes = {VOCODER: "float32"} if run_in_float32(folder) else {}
    found = {name: _read(weight_files(folder, name), dtypes.get(name, dtype)) for name in components(index)}
    weights = {name: sum(each.size_bytes for each in tensors) for name, tensors in found.items() if tensors}
    converted = {name: sum(each.size_bytes for each in tensors if each.converted) for name, tensors in found.items()}
    outside = sum(each.size_bytes for each in found.get(TRANSFORMER, ()) if not each.name.startswith(BLOCKS))
    matrices = sum(each.size_bytes for each in found.get(TEXT_ENCODER, ()) if in_4_bits(each.name, len(each.shape)))
    return Sizes(
        weights,
        int(config.get("num_layers", BLOCKS_OF_LTX2)),
        {name: made for name, made in converted.items() if made},
        outside,
        matrices,
        sum(each.fp8_bytes for each in found.get(TRANSFORMER, ())),
        frozenset(dtypes),
    )


@dataclass(frozen=True)
class StoredTensor:
    """One weight in a file: its bytes once it is loaded, and whether it is stored as other numbers."""

    name: str
    size_bytes: int
    shape: Sequence[int]
    converted: bool

    @property
    def fp8_bytes(self) -> int:
        """What it takes where the transformer is stored as fp8."""
        if not is_rounded(self.name):
            return self.size_bytes
        return math.prod(self.shape) + self.shape[0] * SCALE_BYTES


def is_rounded(name: str) -> bool:
    """Whether fp8 rounds the transformer's weight of this name."""
    return name.startswith(BLOCKS) and name.removesuffix(".weight").endswith(ROUNDED)


def _read(files: Sequence[Path], dtype: str) -> list[StoredTensor]:
    """All weights in `files`."""
    found = []
    for file in files:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                each = tensors.get_slice(name)
                shape = each.get_shape()
                size_bytes = math.prod(shape) * NUMBER_BYTES[dtype]
                found.append(StoredTensor(name, size_bytes, shape, each.get_dtype() != STORED_AS[dtype]))
    return found

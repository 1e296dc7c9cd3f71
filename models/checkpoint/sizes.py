"""Computes the size of each loaded component from the headers of its files. Does not import torch.

A load converts all weights to one dtype, except some vocoders, which stay in float32. Weights already stored in the
target dtype are memory-mapped and use no host memory of their own. Weights stored in another dtype, such as float32,
are converted into new memory beside the file's mapping.
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
from models.memory.offload_plan import TEXT_ENCODER, TRANSFORMER, UPSAMPLER, Sizes

STORED_AS = {"bfloat16": "BF16", "float32": "F32"}
"""The safetensors name of each target dtype."""
BLOCKS = "transformer_blocks."
"""Name prefix of all weights inside a transformer block."""
ROUNDED = (".to_q", ".to_k", ".to_v", ".to_out.0", "ff.net.0.proj", "ff.net.2")
"""Name suffixes of the layers that fp8 quantizes: all attention and feed-forward layers."""
SCALE_BYTES = 2
"""Size of the scale of each row of a quantized weight."""
NUMBER_BYTES = {"bfloat16": 2, "float32": 4}


def in_4_bits(name: str, dimensions: int) -> bool:
    """Whether `text_encoder_dtype` quantizes the weight of this name: a matrix in the language model's layers.

    Embeddings, norms and the vision tower, which no render calls, keep their dtype.
    """
    return dimensions > 1 and "language_model." in name and ".layers." in name


def measure_sizes(folder: Path, dtype: str = "bfloat16", upsampler: Path | None = None) -> Sizes:
    """Sizes of the checkpoint that diffusers saved in `folder`, and of its `upsampler`, when loaded as `dtype`."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    config = json.loads((folder / TRANSFORMER / "config.json").read_text(encoding="utf-8"))
    dtypes = {VOCODER: "float32"} if run_in_float32(folder) else {}
    found = {name: _read(weight_files(folder, name), dtypes.get(name, dtype)) for name in components(index)}
    if upsampler is not None:
        found[UPSAMPLER] = _read(weight_files(upsampler.parent, upsampler.name), dtype)
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
    """One weight in a file. `size_bytes`: once loaded. `converted`: whether it is stored in another dtype."""

    name: str
    size_bytes: int
    shape: Sequence[int]
    converted: bool

    @property
    def fp8_bytes(self) -> int:
        """Size in bytes when the transformer is stored as fp8."""
        if not is_rounded(self.name):
            return self.size_bytes
        return math.prod(self.shape) + self.shape[0] * SCALE_BYTES


def is_rounded(name: str) -> bool:
    """Whether fp8 quantizes the transformer's weight of this name."""
    return name.startswith(BLOCKS) and name.removesuffix(".weight").endswith(ROUNDED)


def _read(files: Sequence[Path], dtype: str) -> list[StoredTensor]:
    """Read the headers of all weights in `files`."""
    found = []
    for file in files:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # safe_open's result is not a mapping
                each = tensors.get_slice(name)
                shape = each.get_shape()
                size_bytes = math.prod(shape) * NUMBER_BYTES[dtype]
                found.append(StoredTensor(name, size_bytes, shape, each.get_dtype() != STORED_AS[dtype]))
    return found

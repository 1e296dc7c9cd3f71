"""How large the components of a checkpoint are once they are loaded, from the headers of its files. Knows no torch.

A load makes one kind of number of all weights. What is stored so already is mapped from its file and costs no host
memory of its own; what is stored otherwise, such as float32, is made anew beside it.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from models.checkpoint_files import INDEX, components, weight_files
from models.placement import TRANSFORMER, Sizes
from models.recipes import BLOCKS_OF_LTX2

STORED_AS = {"bfloat16": "BF16", "float32": "F32"}
"""What the headers call the numbers that a load makes."""
NUMBER_BYTES = {"bfloat16": 2, "float32": 4}


def measure_sizes(folder: Path, dtype: str = "bfloat16") -> Sizes:
    """Sizes of the checkpoint that diffusers saved in `folder`, loaded as `dtype`."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    config = json.loads((folder / TRANSFORMER / "config.json").read_text(encoding="utf-8"))
    found = {name: _count(weight_files(folder, name), dtype) for name in components(index)}
    weights = {name: loaded for name, (loaded, _) in found.items() if loaded}
    converted = {name: made for name, (_, made) in found.items() if made}
    return Sizes(weights, int(config.get("num_layers", BLOCKS_OF_LTX2)), converted)


def _count(files: Sequence[Path], dtype: str) -> tuple[int, int]:
    """The bytes of all weights in `files` once they are loaded, and those of them that are not stored so."""
    loaded = made = 0
    for file in files:
        with safe_open(file, framework="np") as tensors:
            slices = [tensors.get_slice(name) for name in tensors.keys()]  # noqa: SIM118  # it is no mapping
            for each in slices:
                size_bytes = math.prod(each.get_shape()) * NUMBER_BYTES[dtype]
                loaded += size_bytes
                made += size_bytes if each.get_dtype() != STORED_AS[dtype] else 0
    return loaded, made

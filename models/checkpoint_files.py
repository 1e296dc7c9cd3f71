"""The files of a checkpoint in the layout of diffusers: which of them rendering needs, and whether they are whole."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.errors import ModelBroken

INDEX = "model_index.json"
OPTIONAL_COMPONENTS = ("processor", "prompt_enhancer")
"""Parts of newer checkpoints that rendering does not use: a prompt rewriter alone is 24 GB."""
UNUSED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.msgpack", "*.h5", "*.fp16.*", "*.non_ema.*")
"""Older formats (some of which can run code when they are read) and second copies of the weights."""
WEIGHTS = "*.safetensors"
SHARDS = "*.safetensors.index.json"
LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, little-endian."""


def components(index: Mapping[str, object]) -> tuple[str, ...]:
    """The components that a model_index.json names and that rendering needs."""
    return tuple(
        name
        for name, value in index.items()
        if isinstance(value, list) and value and value[0] is not None and name not in OPTIONAL_COMPONENTS
    )


def needed_files(index: Path) -> list[str]:
    """Patterns of the files that rendering needs, from the repository's own model_index.json."""
    return [INDEX, *(f"{name}/*" for name in components(json.loads(index.read_text(encoding="utf-8"))))]


def check_weights(folder: Path) -> None:
    """Look whether the weights are whole: all files that are named, each as long as it says itself.

    Reads headers only, some hundred kB of a file. Raises ModelBroken, and OSError for a file that cannot be read.
    """
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    for component in components(index):
        for shards in sorted((folder / component).glob(SHARDS)):
            _check_shards(shards)
        for file in sorted((folder / component).glob(WEIGHTS)):
            _check_length(file)


def _check_shards(index: Path) -> None:
    named = set(_read_object(index, index.read_bytes()).get("weight_map", {}).values())
    for name in sorted(named):
        if not (index.parent / name).exists():
            raise ModelBroken(f"{index.parent / name} is missing, and {index.name} names it: fetch the model again")


def _check_length(file: Path) -> None:
    """The header ends with where each tensor ends; the last of these is the end of the file."""
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise _broken(file, "it has no whole header")
        header = _read_object(file, content.read(length))
    promised = LENGTH_BYTES + length + max(_ends(file, header), default=0)
    if promised != size:
        raise _broken(file, f"it has {size} bytes, and its header speaks of {promised}")


def _ends(file: Path, header: Mapping[str, Any]) -> Iterator[int]:
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        try:
            yield int(tensor["data_offsets"][1])
        except (TypeError, KeyError, IndexError, ValueError):
            raise _broken(file, "its header is none of safetensors") from None


def _read_object(file: Path, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _broken(file, "its header is no JSON object" if file.suffix == ".safetensors" else "it is no JSON object")
    return found


def _broken(file: Path, why: str) -> ModelBroken:
    return ModelBroken(f"{file.resolve()} is broken: {why}. Delete it and fetch the model again")

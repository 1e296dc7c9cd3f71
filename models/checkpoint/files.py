"""Lists the files of a checkpoint in the diffusers layout that rendering needs. Does not import torch."""

import json
from collections.abc import Collection, Mapping
from fnmatch import filter as matching
from pathlib import Path

from models.checkpoint.base_variant import BASE_VARIANT, TRANSFORMER

INDEX = "model_index.json"
OPTIONAL_COMPONENTS = ("processor", "prompt_enhancer")
"""Components of newer checkpoints that rendering does not use. The prompt enhancer is a language model of its own."""
UNUSED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.msgpack", "*.h5", "*.fp16.*", "*.non_ema.*")
"""Older formats, some of which can run code when they are read, and duplicate copies of the weights."""
SUFFIX = ".safetensors"
WEIGHTS = f"*{SUFFIX}"
STEMS = ("model", "diffusion_pytorch_model")
"""The file names of a component's weights: the first is used by transformers, the second by diffusers."""
CONFIGS = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
"""Components without weights, and the name of their config file. All others use config.json."""
OF_TRANSFORMERS = "text_encoder"
"""The only component that transformers loads. diffusers loads the others, with its own file names."""


def components(index: Mapping[str, object]) -> tuple[str, ...]:
    """The components that a model_index.json names and that rendering needs."""
    return tuple(
        name
        for name, value in index.items()
        if isinstance(value, list) and value and value[0] is not None and name not in OPTIONAL_COMPONENTS
    )


def needed_files(index: Path, *, full: bool = False) -> list[str]:
    """File patterns that rendering needs, computed from the repository's own model_index.json.

    With `full`, the full transformer replaces the one that the index names (see models/checkpoint/base_variant.py).
    """
    names = components(json.loads(index.read_text(encoding="utf-8")))
    return [INDEX, *(f"{BASE_VARIANT if full and name == TRANSFORMER else name}/*" for name in names)]


def used_weights(component: str, names: Collection[str]) -> set[str]:
    """The file names, out of `names`, that the loader reads a component's weights from."""
    if shard_index(component, names) is None:
        return {unsharded_name(component)} & set(names)
    return set(matching(names, unsharded_name(component).replace(SUFFIX, f"-*-of-*{SUFFIX}")))


def unsharded_name(component: str) -> str:
    """The file name of a component's weights when they are not sharded."""
    return STEMS[component != OF_TRANSFORMERS] + SUFFIX


def shard_index(component: str, names: Collection[str]) -> str | None:
    """The name of the shard index, or None if the weights are not read from shards.

    Some repositories store the same weights twice, as one file and as shards. diffusers then reads the shards,
    transformers reads the single file.
    """
    index = f"{unsharded_name(component)}.index.json"
    whole_comes_first = component == OF_TRANSFORMERS and unsharded_name(component) in names
    return index if index in names and not whole_comes_first else None


def duplicate_weights(files: Collection[str]) -> list[str]:
    """Patterns of weight files that no loader reads.

    `files` are paths in the repository (`component/name`); the list may or may not include the unused files.
    """
    names: dict[str, set[str]] = {}
    for component, _, name in (file.partition("/") for file in files):
        names.setdefault(component, set()).add(name)
    return [pattern for component in sorted(names) for pattern in _unused(component, names[component])]


def _unused(component: str, names: Collection[str]) -> list[str]:
    stem = unsharded_name(component).removesuffix(SUFFIX)
    unused = [f"{other}*{SUFFIX}" for other in STEMS if other != stem]
    if shard_index(component, names) is not None:
        unused.append(f"{stem}{SUFFIX}")
    elif f"{stem}{SUFFIX}" in names:
        unused.append(f"{stem}-*-of-*{SUFFIX}")
    return [f"{component}/{pattern}" for pattern in unused]


def weight_files(folder: Path, component: str) -> list[Path]:
    """Local paths of the files that the loader reads a component's weights from."""
    return [folder / component / name for name in sorted(used_weights(component, names_in(folder, component)))]


def names_in(folder: Path, component: str) -> set[str]:
    """Names of the local files of a component."""
    return {file.name for file in (folder / component).glob("*")}

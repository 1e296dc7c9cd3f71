"""The files of a checkpoint in the layout of diffusers: which of them rendering needs. Knows no torch."""

import json
from collections.abc import Collection, Mapping
from fnmatch import filter as matching
from pathlib import Path

from models.checkpoint.base_variant import BASE_VARIANT, TRANSFORMER

INDEX = "model_index.json"
OPTIONAL_COMPONENTS = ("processor", "prompt_enhancer")
"""Parts of newer checkpoints that rendering does not use: a prompt rewriter is a language model of its own."""
UNUSED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.msgpack", "*.h5", "*.fp16.*", "*.non_ema.*")
"""Older formats (some of which can run code when they are read) and second copies of the weights."""
SUFFIX = ".safetensors"
WEIGHTS = f"*{SUFFIX}"
STEMS = ("model", "diffusion_pytorch_model")
"""What transformers and diffusers call the file of a component's weights."""
CONFIGS = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
"""What has no weights, and the name of its config; that of all others is config.json."""
OF_TRANSFORMERS = "text_encoder"
"""The component that transformers reads; diffusers reads the others, and each has its own names for the files."""


def components(index: Mapping[str, object]) -> tuple[str, ...]:
    """The components that a model_index.json names and that rendering needs."""
    return tuple(
        name
        for name, value in index.items()
        if isinstance(value, list) and value and value[0] is not None and name not in OPTIONAL_COMPONENTS
    )


def needed_files(index: Path, *, full: bool = False) -> list[str]:
    """Patterns of the files that rendering needs, from the repository's own model_index.json.

    `full` takes the full transformer in the place of the one that the index names (see models/full_transformer).
    """
    names = components(json.loads(index.read_text(encoding="utf-8")))
    return [INDEX, *(f"{BASE_VARIANT if full and name == TRANSFORMER else name}/*" for name in names)]


def used_weights(component: str, names: Collection[str]) -> set[str]:
    """Those of a component's files, by name, that its weights are read from."""
    if shard_index(component, names) is None:
        return {unsharded_name(component)} & set(names)
    return set(matching(names, unsharded_name(component).replace(SUFFIX, f"-*-of-*{SUFFIX}")))


def unsharded_name(component: str) -> str:
    """The name of a component's weights where they are one file."""
    return STEMS[component != OF_TRANSFORMERS] + SUFFIX


def shard_index(component: str, names: Collection[str]) -> str | None:
    """The name of the file that tells of a component's shards, if its weights are read from shards.

    Some repositories have the same weights twice, whole and in shards: diffusers then reads the shards, transformers
    the whole file.
    """
    index = f"{unsharded_name(component)}.index.json"
    whole_comes_first = component == OF_TRANSFORMERS and unsharded_name(component) in names
    return index if index in names and not whole_comes_first else None


def duplicate_weights(files: Collection[str]) -> list[str]:
    """Patterns of weights that nothing reads, given a repository's files, `component/name`, with or without them."""
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
    """The files on this machine that a component's weights are read from."""
    return [folder / component / name for name in sorted(used_weights(component, names_in(folder, component)))]


def names_in(folder: Path, component: str) -> set[str]:
    """The names of the files of a component on this machine."""
    return {file.name for file in (folder / component).glob("*")}

"""Checks that the files of a checkpoint are complete, before they are loaded. Does not import torch.

Reads the configs and the headers of the weights, some hundred kB per file. Wrong values inside the weights are only
found by a render. Every error is a ModelBroken that names the file.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.checkpoint.files import CONFIGS, INDEX, components, names_in, shard_index, unsharded_name, weight_files
from models.errors import ModelBroken, ModelUnavailable

LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, as a little-endian integer of this size."""
METADATA = "__metadata__"
REQUIRED = frozenset(
    {"scheduler", "tokenizer", "text_encoder", "connectors", "transformer", "vae", "audio_vae", "vocoder"}
)
"""Components that every LTX-2 has."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
"""A tokenizer has one of these files, or both."""


def check_checkpoint(folder: Path) -> None:
    """Check that all files named by the index exist and have the length that their header states.

    Raises ModelBroken, and OSError for a file that cannot be read.
    """
    named = components(read_object(folder / INDEX))
    if missing := sorted(REQUIRED.difference(named)):
        raise ModelBroken(f"{folder / INDEX} lists no {missing[0]}: it is not a complete LTX-2 pipeline")
    for component in named:
        read_object(folder / component / CONFIGS.get(component, "config.json"))
        if component == "tokenizer":
            _check_tokenizer(folder / component)
        elif component not in CONFIGS:
            check_weights(folder, component)


def check_tensor_names(folder: Path, component: str, wanted: Iterable[str]) -> None:
    """Raise ModelBroken if the weights of a component lack a tensor of `wanted`."""
    found = {name for file in weight_files(folder, component) for name in _read_header(file)[0]}
    raise_if_missing(folder, component, set(wanted) - found)


def raise_if_missing(folder: Path, component: str, missing: Iterable[str]) -> None:
    """Raise ModelBroken if tensors of a component are missing. The loader would leave them uninitialized."""
    if names := sorted(missing):
        raise ModelBroken(
            f"{folder / component} is broken: {len(names)} tensors that its config requires are missing, such as "
            f"{names[0]}. Fetch the model again, config and weights from the same place"
        )


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a checkpoint file. Raises ModelBroken, or ModelUnavailable if the file cannot be read."""
    try:
        return _parse(file, file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise ModelBroken(
            f"{file} is missing: a model is a folder that diffusers saved, with {INDEX} and a folder for each component"
        ) from exc
    except PermissionError as exc:
        raise ModelUnavailable(f"this user has no permission to read {file}") from exc
    except OSError as exc:
        raise ModelUnavailable(f"{file} cannot be read: {exc}") from exc


def check_weights(folder: Path, component: str) -> None:
    """Check that a component's weights are there, each file with the length that its header states."""
    index = shard_index(component, names_in(folder, component))
    named = {unsharded_name(component)} if index is None else _named_shards(folder / component / index)
    for name in sorted(named):
        if not (folder / component / name).exists():
            raise ModelBroken(f"{folder / component / name} is missing: fetch the model again")
        _check_length(folder / component / name)


def _named_shards(index: Path) -> set[str]:
    named = read_object(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise _broken(index, "it lists no shards")
    return set(named.values())


def _check_length(file: Path) -> None:
    """Compare the file's size with the end of its last tensor, which the header states."""
    header, start = _read_header(file)
    size, promised = file.stat().st_size, start + max(_ends(file, header), default=0)
    if promised != size:
        raise _broken(file, f"it has {size} bytes, but its header states {promised}")


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """The tensors of a file by name, and the byte offset where their data begins."""
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise _broken(file, "its header is incomplete")
        header = _parse(file, content.read(length))
    header.pop(METADATA, None)
    return header, LENGTH_BYTES + length


def _ends(file: Path, header: Mapping[str, Any]) -> Iterator[int]:
    for tensor in header.values():
        try:
            yield int(tensor["data_offsets"][1])
        except (TypeError, KeyError, IndexError, ValueError):
            raise _broken(file, "its header is not that of a safetensors file") from None


def _check_tokenizer(tokenizer: Path) -> None:
    """Check the start and end of a tokenizer file: tens of MB, so it is not parsed, and a truncated one has no end."""
    words = [tokenizer / name for name in TOKENIZER_FILES if (tokenizer / name).exists()]
    if not words:
        raise ModelBroken(f"{tokenizer / TOKENIZER_FILES[0]} is missing: fetch the model again")
    content = words[0].read_bytes().strip()
    if not content or (words[0].suffix == ".json" and not (content.startswith(b"{") and content.endswith(b"}"))):
        raise _broken(words[0], "it is truncated")


def _parse(file: Path, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _broken(
            file, "its header is not a JSON object" if file.suffix == ".safetensors" else "it is not a JSON object"
        )
    return found


def _broken(file: Path, why: str) -> ModelBroken:
    return ModelBroken(f"{file.resolve()} is broken: {why}. Delete it and fetch the model again")

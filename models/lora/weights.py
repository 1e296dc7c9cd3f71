"""Reads the tensors of a LoRA, and compares them with the layers of the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from models.errors import LoraUnusable
from models.lora.files import LoraFile
from models.lora.layout import LayerTensors, group_by_layer

OF_TRANSFORMER = "transformer."
"""Prefix of the transformer's entries in diffusers' configuration of a LoRA."""


@dataclass(frozen=True)
class LayerPair:
    """What a LoRA adds to one layer: `factor` x `up` x `down` x input, in host memory.

    `down` is (rank, inputs), `up` is (outputs, rank).
    """

    down: Tensor
    up: Tensor
    factor: float


LoraWeights = Mapping[str, LayerPair]
"""The pairs of one LoRA, by the name of their layer."""


def load_lora(lora: LoraFile, transformer: Any, dtype: torch.dtype) -> LoraWeights:
    """Read a LoRA into host memory. Raises LoraUnusable if it does not fit `transformer`."""
    layers = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear)}
    groups = group_by_layer(lora.name, lora.shapes, layers)
    for name, tensors in groups.items():
        _check_shapes(lora, name, tensors, layers[name])
    with safe_open(lora.file, framework="pt") as stored:
        return {name: _read(stored, lora, name, tensors, dtype) for name, tensors in groups.items()}


def _check_shapes(lora: LoraFile, name: str, tensors: LayerTensors, layer: nn.Linear) -> None:
    rank = next(iter(lora.shapes[tensors.down]), 0)
    wanted = {tensors.down: (rank, layer.in_features), tensors.up: (layer.out_features, rank)}
    for tensor, shape in wanted.items():
        if lora.shapes[tensor] != shape or rank < 1:
            raise LoraUnusable(
                f"LoRA {lora.name}: the tensor {tensor} has the shape {_spell(lora.shapes[tensor])}, and {name} of "
                f"this model needs {_spell(shape)}: it was made for another model"
            )
    if tensors.alpha is not None and math.prod(lora.shapes[tensors.alpha]) != 1:
        raise LoraUnusable(
            f"LoRA {lora.name}: the tensor {tensors.alpha} has the shape {_spell(lora.shapes[tensors.alpha])}, and one "
            "number is needed"
        )


def _spell(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of a single number"


def _read(stored: Any, lora: LoraFile, name: str, tensors: LayerTensors, dtype: torch.dtype) -> LayerPair:
    down, up = stored.get_tensor(tensors.down).to(dtype), stored.get_tensor(tensors.up).to(dtype)
    if tensors.alpha is not None:
        return LayerPair(down, up, float(stored.get_tensor(tensors.alpha)) / len(down))
    return LayerPair(down, up, _factor_of_config(lora.config, name, len(down)))


def _factor_of_config(config: Mapping[str, object], name: str, rank: int) -> float:
    """Alpha / rank, as diffusers' configuration says; 1 without one."""
    alpha = _of_layer(config.get(f"{OF_TRANSFORMER}alpha_pattern"), name)
    alpha = config.get(f"{OF_TRANSFORMER}lora_alpha") if alpha is None else alpha
    if not isinstance(alpha, int | float):
        return 1.0
    return alpha / (math.sqrt(rank) if config.get(f"{OF_TRANSFORMER}use_rslora") else rank)


def _of_layer(pattern: object, name: str) -> object:
    """The entry for a layer: a pattern names it, or the end of its name."""
    if not isinstance(pattern, dict):
        return None
    return next((value for key, value in pattern.items() if f".{name}".endswith(f".{key}")), None)

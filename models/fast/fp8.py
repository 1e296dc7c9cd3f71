"""The transformer's large products in float8 (e4m3): half the bits, up to twice the rate, on GPUs that have it.

Weights are rounded when a fast task begins, a scale for each of their rows, beside the bfloat16 ones, and are gone when
it ends; the inputs are rounded at each call, a scale for each token. Accumulated in float32.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ScalingType, scaled_mm

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
MIN_WEIGHTS = 1_000_000
"""Smaller products do not gain what rounding their inputs costs."""
SIDE_MULTIPLE = 16
"""Sides of a matrix that the kernels take."""
CAPABILITY = (8, 9)
"""The first GPUs that multiply float8: Ada, then Hopper."""


def can_multiply(device: torch.device) -> bool:
    """Whether this device multiplies float8 faster than bfloat16."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY


class Fp8Linears:
    """The large linear layers in the blocks of a transformer."""

    def __init__(self, transformer: Any, min_weights: int = MIN_WEIGHTS) -> None:
        layers = (layer for layer in transformer.transformer_blocks.modules() if isinstance(layer, nn.Linear))
        self._layers = [layer for layer in layers if _suits(layer, min_weights)]

    @property
    def size_bytes(self) -> int:
        """What the rounded weights take while they are there."""
        return sum(layer.weight.numel() for layer in self._layers)

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Multiply in float8 in this context."""
        try:
            for layer in self._layers:
                vars(layer)["forward"] = _product(layer)
            yield
        finally:
            for layer in self._layers:
                vars(layer).pop("forward", None)


def _suits(layer: nn.Linear, min_weights: int) -> bool:
    whole = all(side % SIDE_MULTIPLE == 0 for side in layer.weight.shape)
    return whole and layer.weight.numel() >= min_weights


def _product(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """What stands for the layer's `forward`: (..., inputs) to (..., outputs)."""
    weight, weight_scale = round_rows(layer.weight.detach())

    def forward(states: Tensor) -> Tensor:
        rows, scale = round_rows(states.reshape(-1, states.shape[-1]))
        result = scaled_mm(
            rows,
            weight.t(),
            scale,
            ScalingType.RowWise,
            weight_scale.t(),
            ScalingType.RowWise,
            output_dtype=states.dtype,
        )
        result = result if layer.bias is None else result + layer.bias
        return result.reshape(*states.shape[:-1], -1)

    return forward


def round_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as float8, and the scale (rows, 1) in float32 by which each row is to be multiplied."""
    scale = matrix.abs().amax(dim=1, keepdim=True).float().clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return (matrix.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale

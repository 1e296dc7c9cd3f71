"""Computes the transformer's large products in float8 (e4m3): half the bits, up to twice the rate, on GPUs with float8.

Weights are quantized when a fast task begins, with a scale per row, beside the bfloat16 ones, and freed when it ends.
Inputs are quantized at each call, with a scale per token, and once for all layers of an attention that read them. Sums
have the precision of the tensor cores (`use_fast_accum`), as in Lightricks' own float8.

It is not measured whether this is faster than bfloat16: quantizing reads and writes the inputs several times. It is off
unless the operator sets `generator.fast_float8`; `python -m benchmarks.gpu --only fast` times both.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ScalingType, scaled_mm

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
MIN_WEIGHTS = 1_000_000
"""Smaller products gain less than the quantization of their inputs costs."""
SIDE_MULTIPLE = 16
"""The kernels need matrix sides that are multiples of this."""
FAST_SUMS = True
"""Whether products are summed with less than float32 precision, as Lightricks does: faster on Hopper, not measured yet.
"""
CAPABILITY = (8, 9)
"""Compute capability of the first GPUs that multiply float8: Ada, then Hopper."""


def can_multiply(device: torch.device) -> bool:
    """Whether this device supports float8 products."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY


class Fp8Linears:
    """The large linear layers in the blocks of a transformer."""

    def __init__(self, transformer: Any, min_weights: int = MIN_WEIGHTS) -> None:
        layers = (layer for layer in transformer.transformer_blocks.modules() if isinstance(layer, nn.Linear))
        self._layers = [layer for layer in layers if _suits(layer, min_weights)]

    @property
    def size_bytes(self) -> int:
        """Size of the quantized weights while they exist."""
        return sum(layer.weight.numel() for layer in self._layers)

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Multiply in float8 in this context."""
        try:
            inputs = Inputs()
            for layer in self._layers:
                vars(layer)["forward"] = _product(layer, inputs)
            yield
        finally:
            for layer in self._layers:
                vars(layer).pop("forward", None)


def _suits(layer: nn.Linear, min_weights: int) -> bool:
    whole = all(side % SIDE_MULTIPLE == 0 for side in layer.weight.shape)
    return whole and layer.weight.numel() >= min_weights


class Inputs:
    """Caches the last quantized input: query, key and value of a self-attention are products of one tensor."""

    def __init__(self) -> None:
        self._states: weakref.ref[Tensor] | None = None
        self._version = 0
        self._rounded: tuple[Tensor, Tensor] | None = None

    def round(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """`states` (..., inputs) as rows of float8, and their scales."""
        if self._rounded is None or self._states is None or self._states() is not states or self._changed(states):
            self._rounded = round_rows(states.reshape(-1, states.shape[-1]))
            self._states, self._version = weakref.ref(states, self._drop), _version(states)
        return self._rounded

    def _changed(self, states: Tensor) -> bool:
        return _version(states) != self._version

    def _drop(self, gone: "weakref.ref[Tensor]") -> None:
        """Free the quantized rows when their source tensor is gone."""
        if gone is self._states:
            self._states = self._rounded = None


def _version(states: Tensor) -> int:
    """The number of in-place writes to a tensor. Inference-mode tensors have no counter, and are not written here."""
    return 0 if states.is_inference() else states._version  # noqa: SLF001  # torch has no public name for it


def _product(layer: nn.Linear, inputs: Inputs) -> Callable[[Tensor], Tensor]:
    """A replacement for the layer's `forward`: (..., inputs) to (..., outputs)."""
    weight, weight_scale = round_rows(layer.weight.detach())

    def forward(states: Tensor) -> Tensor:
        rows, scale = inputs.round(states)
        result = scaled_mm(
            rows,
            weight.t(),
            scale,
            ScalingType.RowWise,
            weight_scale.t(),
            ScalingType.RowWise,
            bias=layer.bias,
            output_dtype=states.dtype,
            use_fast_accum=FAST_SUMS,
        )
        return result.reshape(*states.shape[:-1], -1)

    return forward


def round_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as float8, and the scale (rows, 1) in float32 that each row must be multiplied by."""
    scale = matrix.abs().amax(dim=1, keepdim=True).float().clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return (matrix.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale

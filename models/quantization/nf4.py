"""Stores the weights of linear layers in 4 bits (NF4, by bitsandbytes): a quarter of the size, and not exact.

The packed bits and their scales are plain buffers, so they move like all weights: in sleep mode, at wake-up, and when a
component is streamed. A layer restores its whole weight for the duration of each call; products are in bfloat16.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint.sizes import in_4_bits
from models.errors import ModelUnavailable

BLOCK = 64
"""Weights that share a scale, in float32."""
EXTRA = "nf4"
"""The optional dependency group that installs bitsandbytes."""


def import_bitsandbytes() -> Any:
    """Bitsandbytes' functions. Raises ModelUnavailable if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which its optimizers use (0.50)
            from bitsandbytes import functional
    except ImportError as exc:
        raise ModelUnavailable(
            "generator.text_encoder_dtype: nf4 needs the package bitsandbytes, which is not installed: "
            f"pip install -c constraints.txt '.[server,{EXTRA}]'"
        ) from exc
    return functional


class Nf4Linear(nn.Module):
    """A linear layer in 4 bits. `packed` has two weights per byte, `scales` one number for each BLOCK of weights."""

    packed: Tensor
    scales: Tensor
    code: Tensor

    def __init__(self, layer: nn.Linear, device: torch.device) -> None:
        super().__init__()
        self._functional = import_bitsandbytes()
        self._shape, self._dtype = layer.weight.shape, layer.weight.dtype
        self.bias = layer.bias
        weight = layer.weight.detach().to(device)
        packed, state = self._functional.quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4")
        for name, made in (("packed", packed), ("scales", state.absmax), ("code", state.code)):
            self.register_buffer(name, made.to("cpu"))

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return nn.functional.linear(states, self.whole_weight(), self.bias)

    def whole_weight(self) -> Tensor:
        """The dequantized weight, approximately the original."""
        state = self._functional.QuantState(
            absmax=self.scales,
            shape=self._shape,
            code=self.code,
            blocksize=BLOCK,
            quant_type="nf4",
            dtype=self._dtype,
        )
        weight: Tensor = self._functional.dequantize_4bit(self.packed, state)
        return weight


def store_in_4_bits(text_encoder: Any, device: torch.device) -> None:
    """Quantize the linear layers of the language model on `device`, one by one. The results stay on the CPU."""
    for name, layer in list(text_encoder.named_modules()):
        if isinstance(layer, nn.Linear) and in_4_bits(name, layer.weight.ndim):
            parent, _, own = name.rpartition(".")
            setattr(text_encoder.get_submodule(parent), own, Nf4Linear(layer, device))

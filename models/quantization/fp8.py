"""Stores the transformer's large weights in float8 (e4m3), half the memory, with a scale per row.

Only the weights of attention and feed-forward layers in the blocks are quantized. Timestep embeddings, modulation,
gates, projections and biases stay unchanged, as in Lightricks' own cast (ltx_core/quantization/fp8_cast.py:119). That
cast has no scales: it rounds numbers below 2^-10 to zero, and most values of a trained layer are not far above.

A scale is a power of two. It changes only the exponent, so that float8 times scale is exact in bfloat16. It brings the
largest value of its row near the largest float8. Products are computed in bfloat16.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from models.checkpoint.sizes import BLOCKS, is_rounded

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
MANTISSA, EXPONENT = 0.875, 9
"""448, the largest float8, as mantissa times a power of two."""
MOST = 120
"""A row is scaled up by at most 2 to this power, so that bfloat16 can represent its scale."""


class Fp8Linear(nn.Linear):
    """A linear layer with a float8 weight and an unchanged bias."""

    weight_scale: Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """The layer with its weight quantized, on the weight's device."""
        rows, scale = round_rows(layer.weight.detach())
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.in_features, made.out_features = layer.in_features, layer.out_features
        made.weight = nn.Parameter(rows, requires_grad=False)
        made.bias = layer.bias
        made.register_buffer("weight_scale", scale)
        return made

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Multiply in the dtype of `input`."""
        return linear(input, self.weight.to(input.dtype) * self.weight_scale.to(input.dtype), self.bias)


def round_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as float8, and the power of two (rows, 1), in bfloat16, to multiply each row by."""
    numbers = weight.float()
    mantissa, exponent = numbers.abs().amax(dim=1, keepdim=True).frexp()
    raised = (EXPONENT - exponent - (mantissa > MANTISSA).int()).clamp(max=MOST)
    return torch.ldexp(numbers, raised).to(FLOAT8), torch.ldexp(torch.ones_like(mantissa), -raised).bfloat16()


def round_weights(transformer: Any, device: torch.device, *, back: bool) -> None:
    """Quantize the large weights of `transformer` in place, on `device`. A CPU needs half a minute for it.

    Moves one block at a time to `device`. With `back`, the quantized weights return to host memory, for a streamed
    transformer.
    """
    from models.memory import transfer

    for block in transformer.transformer_blocks:
        layers = {name: layer for name, layer in block.named_modules() if is_rounded(f"{BLOCKS}{name}.weight")}
        transfer.to_device([layer.weight for layer in layers.values()], device)
        for name, layer in layers.items():
            rounded = Fp8Linear.of(layer)
            block.set_submodule(name, rounded.cpu() if back else rounded)

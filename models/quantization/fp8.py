"""The transformer's large weights in float8 (e4m3), half of the memory, each row with a scale of its own.

Only what attention and feed-forward layers of the blocks multiply by: timestep embeddings, modulation, gates,
projections and biases stay as they are, as Lightricks' own cast has it (ltx_core/quantization/fp8_cast.py:119). That
cast has no scales: numbers below 2^-10 are nothing there, and most of what a trained layer holds is not far above.

A scale is a power of two. It only moves the exponent, so that float8 times scale is exact in bfloat16, and brings the
largest number of its row near the largest of float8. Products are computed in bfloat16.
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
"""A row is raised by at most 2 to this, so that its scale is a number that bfloat16 has."""


class Fp8Linear(nn.Linear):
    """A linear layer whose weight is float8, and its bias as it was."""

    weight_scale: Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """The layer with its weight rounded, on the device where that is."""
        rows, scale = round_rows(layer.weight.detach())
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.in_features, made.out_features = layer.in_features, layer.out_features
        made.weight = nn.Parameter(rows, requires_grad=False)
        made.bias = layer.bias
        made.register_buffer("weight_scale", scale)
        return made

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Multiply in the type of `input`."""
        return linear(input, self.weight.to(input.dtype) * self.weight_scale.to(input.dtype), self.bias)


def round_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as float8, and a power of two for each row (rows, 1), in bfloat16, to multiply it by."""
    numbers = weight.float()
    mantissa, exponent = numbers.abs().amax(dim=1, keepdim=True).frexp()
    raised = (EXPONENT - exponent - (mantissa > MANTISSA).int()).clamp(max=MOST)
    return torch.ldexp(numbers, raised).to(FLOAT8), torch.ldexp(torch.ones_like(mantissa), -raised).bfloat16()


def round_weights(transformer: Any, device: torch.device, *, back: bool) -> None:
    """Round the large weights of `transformer` in place, on `device`: a processor takes half a minute for it.

    A block at a time goes there. `back` brings what is rounded to host memory again, for a transformer that passes.
    """
    from models.memory import transfer

    for block in transformer.transformer_blocks:
        layers = {name: layer for name, layer in block.named_modules() if is_rounded(f"{BLOCKS}{name}.weight")}
        transfer.to_device([layer.weight for layer in layers.values()], device)
        for name, layer in layers.items():
            rounded = Fp8Linear.of(layer)
            block.set_submodule(name, rounded.cpu() if back else rounded)

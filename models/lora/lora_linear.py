"""A linear layer with the LoRAs of a request."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from models.lora.weights import LayerPair


class LoraLinear(nn.Module):
    """A layer whose result is changed by `up` x `down` x input.

    The two matrices are neither parameters nor buffers: a streamed block is moved with the weights that it had when it
    was placed, and no others. torch.compile takes them as inputs, so LoRAs of the same layers and ranks share code.
    """

    def __init__(self, layer: nn.Module, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.down = down
        self.up = up

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        result: Tensor = self.layer(states)
        low = linear(states, self.down)
        result.view(-1, result.shape[-1]).addmm_(low.view(-1, low.shape[-1]), self.up.t())
        return result


def stack(pairs: Sequence[tuple[LayerPair, float]]) -> tuple[Tensor, Tensor]:
    """The matrices `down` and `up` of several LoRAs of one layer, each with its scale: one pair of products for all."""
    downs = [pair.down for pair, _ in pairs]
    ups = [_scaled(pair.up, pair.factor * scale) for pair, scale in pairs]
    if len(pairs) == 1:
        return downs[0], ups[0]
    return torch.cat(downs), torch.cat(ups, dim=1)


def _scaled(up: Tensor, factor: float) -> Tensor:
    return up if factor == 1 else (up.float() * factor).to(up.dtype)

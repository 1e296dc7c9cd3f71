"""Muon: momentum whose matrix is made orthogonal, for weights with two dimensions or more.

The iteration and its constants are Keller Jordan's; the update has the RMS of AdamW's (Moonlight, 2025).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Updates matrices by their orthogonal momentum. A convolution counts as (outputs, everything else)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002  # as in torch
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - MOMENTUM)
                update = orthogonalize(parameter.grad.lerp(momentum, MOMENTUM).flatten(1))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * RMS * max(update.shape) ** 0.5)


def orthogonalize(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to `matrix`, roughly: its singular values become 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    orthogonal: Tensor = (x.T if tall else x).float()
    return orthogonal

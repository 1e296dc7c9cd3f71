"""Muon: momentum whose matrix is made orthogonal, for weights with two dimensions or more.

The iteration and its constants are Keller Jordan's; the update has the RMS of AdamW's (Moonlight, 2025).
"""

from collections import defaultdict
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
        """Update every parameter that has a gradient. Those of one shape are made orthogonal together."""
        for group in self.param_groups:
            updates: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                    momentum.lerp_(parameter.grad, 1 - MOMENTUM)
                    update = parameter.grad.lerp(momentum, MOMENTUM).flatten(1)
                    updates[update.shape].append((parameter, update))
            for shape, pairs in updates.items():
                orthogonal = orthogonalize(torch.stack([update for _, update in pairs]))
                for (parameter, _), matrix in zip(pairs, orthogonal, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * RMS * max(shape) ** 0.5)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The orthogonal matrices nearest to `matrices` (count, rows, columns), roughly: singular values of 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)).bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()

"""The optimizer of every stage: Muon for matrices, Adam for the rest, and a running average of the weights."""

import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from training.muon import Muon

MAX_GRADIENT_NORM = 1.0
AVERAGE_DECAY = 0.995
ADAM_BETAS = (0.9, 0.98)


class Trained:
    """A network in training: its weights, their optimizers and their running average, which is what is kept."""

    def __init__(self, network: nn.Module, lr: float, *, adam: Collection[str] = (), weight_decay: float = 0.0) -> None:
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.step = 0
        self._lr = lr
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            small = parameter.ndim < 2 or any(part in name for part in adam)  # noqa: PLR2004 - a matrix
            (others if small else matrices).append(parameter)
        self._optimizers: list[Any] = [
            Muon(matrices, lr, weight_decay),
            torch.optim.AdamW(others, lr=lr, betas=ADAM_BETAS, weight_decay=0),
        ]

    def update(self, loss: torch.Tensor, lr_scale: float) -> None:
        """Do one step with `lr_scale` times the learning rate."""
        self.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._lr * lr_scale
            optimizer.step()
        self.step += 1
        self._average()

    def _average(self) -> None:
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, now in self._pairs():
                kept.lerp_(now, 1 - decay)

    def reset_average(self) -> None:
        """Begin the average anew from the weights of now."""
        self.average.load_state_dict(self.network.state_dict())

    def _pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(self.average.parameters(), self.network.parameters(), strict=True)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on as if nothing had happened."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self.step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step = state["step"]

"""Timestep tables are computed once for each distinct timestep.

Image-to-video gives every token a timestep of its own, though there are two: the picture's frame has 0, the others that
of the step. diffusers sends all of them through the layers that make the modulation of the blocks.
"""

from typing import Any

import torch
from torch import Tensor, nn

FEW = 8
"""Up to so many rows, the layers cost less than looking for equal ones."""
TABLES = ("time_embed", "av_cross_attn_video_scale_shift")
"""The layers of the transformer that get a timestep for each token of the picture. The gate of the cross-attention gets
the sound's sigma (see models/fixes/cross_timesteps), one for each row of the batch."""


def install_timestep_dedup(transformer: Any) -> bool:
    """Have `transformer` compute its timestep tables for distinct timesteps alone."""
    rows = _RowState()
    for name in TABLES:
        setattr(transformer, name, DistinctRows(getattr(transformer, name), rows))
    transformer.register_forward_pre_hook(rows.prepare, with_kwargs=True)
    return True


class _RowState:
    """Which rows of the call at hand are equal: `where` maps each row to one of `first`, which stand for all."""

    def __init__(self) -> None:
        self.where: Tensor | None = None
        self.first: Tensor | None = None

    def prepare(self, _transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        """Look at a call of the transformer, before it runs."""
        timestep = call["timestep"].flatten()
        self.clear_cache()
        if len(timestep) <= FEW:
            return
        distinct, where = timestep.unique(return_inverse=True)
        positions = torch.arange(len(timestep), device=timestep.device)
        self.first = where.new_zeros(len(distinct)).scatter_reduce_(0, where, positions, "amin", include_self=False)
        self.where = where

    def clear_cache(self) -> None:
        """Let go of the last call."""
        self.where = self.first = None


class DistinctRows(nn.Module):
    """A table of timesteps that sends only distinct rows through diffusers' layer."""

    def __init__(self, table: nn.Module, rows: _RowState) -> None:
        super().__init__()
        self.table = table
        self._rows = rows

    def forward(self, timestep: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """The modulation and the embedding of each row of `timestep` (rows,)."""
        first, where = self._rows.first, self._rows.where
        if first is None or where is None or len(where) != len(timestep):
            modulation, embedded = self.table(timestep, **options)
            return modulation, embedded
        modulation, embedded = self.table(timestep[first], **options)
        return modulation[where], embedded[where]

    def clear_cache(self) -> None:
        """Let go of the last call."""
        self._rows.clear_cache()

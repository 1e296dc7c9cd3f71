"""Computes timestep tables once for each distinct timestep.

Image-to-video gives every token its own timestep, but there are only two values: 0 for the image's frame, and the
step's timestep for the others. diffusers computes the blocks' modulation for all tokens separately.
"""

from typing import Any

import torch
from torch import Tensor, nn

FEW = 8
"""Up to this number of rows, computing all costs less than finding equal ones."""
TABLES = ("time_embed", "av_cross_attn_video_scale_shift")
"""The layers of the transformer that get a timestep per video token. The gates of the cross-attention get the audio's
sigma, one per row of the batch (see models/fixes/cross_timesteps.py)."""


def install_timestep_dedup(transformer: Any) -> bool:
    """Make `transformer` compute its timestep tables only for distinct timesteps."""
    rows = _RowState()
    for name in TABLES:
        setattr(transformer, name, DistinctRows(getattr(transformer, name), rows))
    transformer.register_forward_pre_hook(rows.prepare, with_kwargs=True)
    return True


class _RowState:
    """Equal rows of the current call. `first`: positions of the distinct rows. `where`: each row's index in `first`."""

    def __init__(self) -> None:
        self.where: Tensor | None = None
        self.first: Tensor | None = None

    def prepare(self, _transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        """Read a transformer call before it runs."""
        timestep = call["timestep"].flatten()
        self.clear_cache()
        if len(timestep) <= FEW:
            return
        distinct, where = timestep.unique(return_inverse=True)
        positions = torch.arange(len(timestep), device=timestep.device)
        self.first = where.new_zeros(len(distinct)).scatter_reduce_(0, where, positions, "amin", include_self=False)
        self.where = where

    def clear_cache(self) -> None:
        """Drop the state of the last call."""
        self.where = self.first = None


class DistinctRows(nn.Module):
    """A timestep table that computes only distinct rows with diffusers' layer."""

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
        """Drop the state of the last call."""
        self._rows.clear_cache()

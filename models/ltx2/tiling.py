"""Chooses tiles for decoding a video in parts, when the whole does not fit. Does not import torch.

diffusers steps along a side from 0 by the stride, and the last tile is the remainder. With its default sizes (16
latents, 14 apart), the last tile has two rows at 512 pixels, and so no context. It has one row if a side is not a
multiple of 64; reflection padding then fails (0.42). Here the tiles of a side have equal strides, so that the last tile
is nearly as large as the others.
"""

from dataclasses import dataclass
from typing import Any

MAX_TILE = 16
"""Maximum side of a tile, in latents: 512 pixels."""
OVERLAP = 2
"""Latents over which a tile is blended into the next: 64 pixels."""


@dataclass(frozen=True)
class Tile:
    """The tiles along one side, in latents: their length and their stride."""

    length: int
    stride: int

    def starts(self, side: int) -> range:
        """The start positions of tiles along a side of `side` latents, as diffusers computes them."""
        return range(0, side, self.stride)


def choose_tile(side: int) -> Tile:
    """Tiles for a side of `side` latents: one if it fits, otherwise the smallest number of equal strides."""
    if side <= MAX_TILE:
        return Tile(side, side)
    count = -(-side // (MAX_TILE - OVERLAP))
    stride = -(-side // count)
    return Tile(stride + OVERLAP, stride)


def use_tiles(vae: Any, height: int, width: int) -> None:
    """Switch on tiled decoding in `vae`, with tiles for videos of `height` by `width` pixels."""
    ratio = vae.spatial_compression_ratio
    down, across = choose_tile(height // ratio), choose_tile(width // ratio)
    vae.enable_tiling(
        tile_sample_min_height=down.length * ratio,
        tile_sample_min_width=across.length * ratio,
        tile_sample_stride_height=down.stride * ratio,
        tile_sample_stride_width=across.stride * ratio,
    )

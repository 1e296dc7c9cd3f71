"""Tiles for decoding a video in parts, where the whole does not fit. Knows no torch.

diffusers steps through a side from 0 by the stride, and the last tile is whatever is left: with its own sizes (16
latents, 14 apart) two rows at 512, which have no context, and one row where a side is no multiple of 64, which makes
reflection padding fail (0.42). Here the strides of a side are alike, so that the last tile is nearly as large as the
others.
"""

from dataclasses import dataclass
from typing import Any

MAX_TILE = 16
"""Latents of a side of a tile at most: 512 pixels."""
OVERLAP = 2
"""Latents in which a tile is blended into the next: 64 pixels."""


@dataclass(frozen=True)
class Tile:
    """One side of the tiles, in latents: how long they are, and how far apart."""

    length: int
    stride: int

    def starts(self, side: int) -> range:
        """Where tiles begin on a side of `side` latents, as diffusers steps."""
        return range(0, side, self.stride)


def choose_tile(side: int) -> Tile:
    """Tiles for a side of `side` latents: one where it fits, else as many as are needed, alike."""
    if side <= MAX_TILE:
        return Tile(side, side)
    count = -(-side // (MAX_TILE - OVERLAP))
    stride = -(-side // count)
    return Tile(stride + OVERLAP, stride)


def use_tiles(vae: Any, height: int, width: int) -> None:
    """Have `vae` decode the next videos, of `height` by `width` pixels, in tiles that this size bears."""
    ratio = vae.spatial_compression_ratio
    down, across = choose_tile(height // ratio), choose_tile(width // ratio)
    vae.enable_tiling(
        tile_sample_min_height=down.length * ratio,
        tile_sample_min_width=across.length * ratio,
        tile_sample_stride_height=down.stride * ratio,
        tile_sample_stride_width=across.stride * ratio,
    )

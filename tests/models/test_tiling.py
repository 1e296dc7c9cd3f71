"""Promise: tiled decoding works for every size that a request may have."""

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from models.checkpoint.tiny import VIDEO_VAE
from models.ltx2.decode import MAX_TILE, OVERLAP, choose_tile, use_tiles

SIDES = range(64, 2049, 64)
RATIO = 32


@pytest.mark.parametrize("side_px", SIDES)
def test_every_tile_has_rows_enough_to_be_decoded_and_none_is_too_large(side_px: int) -> None:
    side = side_px // RATIO
    tile = choose_tile(side)
    lengths = [min(tile.length, side - start) for start in tile.starts(side)]
    assert max(lengths) <= MAX_TILE
    assert min(lengths) >= min(side, MAX_TILE // 2 - OVERLAP)
    assert tile.starts(side)[-1] + lengths[-1] == side


@pytest.fixture(scope="module")
def reflecting_vae() -> AutoencoderKLLTX2Video:
    """A decoder with LTX-2's own padding, which fails on a tile of one row."""
    torch.manual_seed(1)
    return AutoencoderKLLTX2Video(**{**VIDEO_VAE, "decoder_spatial_padding_mode": "reflect"}).eval()


@pytest.mark.parametrize("height", [64, 512, 576, 960, 1088])
def test_tiles_are_decoded_with_reflection_padding(reflecting_vae: AutoencoderKLLTX2Video, height: int) -> None:
    use_tiles(reflecting_vae, height, 576)
    latents = torch.randn(1, VIDEO_VAE["latent_channels"], 1, height // RATIO, 576 // RATIO)
    with torch.no_grad():
        frames = reflecting_vae.decode(latents, return_dict=False)[0]
    assert frames.shape == (1, 3, 1, height, 576)
    assert bool(frames.isfinite().all())


def test_a_tile_of_one_row_fails_which_is_why_tiles_are_chosen(reflecting_vae: AutoencoderKLLTX2Video) -> None:
    reflecting_vae.enable_tiling(512, 512, None, 448, 448, None)
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"[Pp]adding"):
        reflecting_vae.decode(torch.randn(1, VIDEO_VAE["latent_channels"], 1, 15, 18), return_dict=False)

"""Promise: the formulas of the memory check hold at LTX-2's real sizes, counted tensor by tensor."""

import pytest
import torch

from benchmarks.full_size import FULL_SIZE, draw_components, pipeline
from benchmarks.live_bytes import LiveBytes
from benchmarks.peak_memory import Case, Counter, told
from models.checkpoint.profile import NO_GUIDANCE, Family
from models.request.request import VideoRequest

GIGA = 10**9
TRANSFORMER_PARAMETERS = {Family.LTX_2_0: 18.88, Family.LTX_2_3: 18.99}
DEFAULT = VideoRequest(prompt="a cat", seed=1, num_inference_steps=2, height=512, width=768, num_frames=121)
CASES = {
    "usual": Case(DEFAULT),
    "from an image": Case(DEFAULT, from_image=True),
    "unguided": Case(DEFAULT.model_copy(update=NO_GUIDANCE)),
    "large": Case(DEFAULT.model_copy(update={"height": 1088, "width": 1920}), from_image=True),
}


@pytest.fixture(scope="module")
def counter() -> Counter:
    return Counter(Family.LTX_2_0)


@pytest.mark.parametrize("family", list(Family))
def test_a_full_size_model_is_as_large_as_the_published_one(family: Family) -> None:
    pipe = pipeline(draw_components(FULL_SIZE[family], "meta", fill=False))
    assert (pipe.vae_spatial_compression_ratio, pipe.vae_temporal_compression_ratio) == (32, 8)
    parameters = sum(weight.numel() for weight in pipe.transformer.parameters())
    assert parameters / GIGA == pytest.approx(TRANSFORMER_PARAMETERS[family], abs=0.01)


@pytest.mark.parametrize("name", CASES)
def test_a_render_takes_no_more_than_it_was_told(counter: Counter, name: str) -> None:
    case = CASES[name]
    counted, by_formula = counter.count(case), told(case)
    for part in ("text", "denoise", "whole", "tiled", "upscale"):
        count, tell = getattr(counted, part), getattr(by_formula, part)
        assert count <= tell, part
        assert tell <= 1.4 * count, part


def test_what_was_counted_is_given_back() -> None:
    live = LiveBytes()
    with live.counting():
        tensors = [torch.empty(1000, dtype=torch.uint8) for _ in range(3)]
        views = [tensor[10:] for tensor in tensors]
        assert (live.live_bytes, live.peak_bytes) == (3000, 3000)
        del tensors[0]
        assert live.live_bytes == 3000
        del views[0]
        assert (live.live_bytes, live.peak_bytes) == (2000, 3000)

"""Promise: a decode that runs out of memory costs a second decode, not all the steps before it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from models.conditions import NO_CONDITIONS
from models.errors import GpuOutOfMemory
from models.ltx2 import decode as ltx2_decode
from models.ltx2.decode import needs_tiles, use_tiles
from models.ltx2.model import Ltx2Model
from models.memory import offload
from models.memory.estimate import CUDA_BYTES, decode_bytes
from tests.models.conftest import ignore, small

WIDE = {"height": 64, "width": 576, "num_inference_steps": 2}
"""Wider than a tile."""


@pytest.fixture
def short_of_memory(model: Ltx2Model, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A VAE that runs out of memory unless it decodes in tiles. Returns whether each decode used tiles."""
    vae: Any = model._text_to_video.vae
    plain, tries = vae.decode, []

    def decode(*args: Any, **options: Any) -> Any:
        tries.append(vae.use_tiling)
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return plain(*args, **options)

    monkeypatch.setattr(vae, "decode", decode)
    return tries


def test_a_whole_that_runs_out_of_memory_is_decoded_in_tiles(model: Ltx2Model, short_of_memory: list[bool]) -> None:
    clip = model.render(small(**WIDE), NO_CONDITIONS, ignore)
    assert short_of_memory == [False, True]
    assert model.decoded_again == ("video, in tiles",)
    assert clip.frames.shape == (9, 64, 576, 3)


def test_it_is_what_tiles_make(model: Ltx2Model, short_of_memory: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    second = model.render(small(**WIDE), NO_CONDITIONS, ignore).frames
    monkeypatch.setattr(model, "placement", Gpu())
    monkeypatch.setattr(ltx2_decode, "needs_tiles", lambda _request: True)
    short_of_memory.clear()
    assert np.array_equal(model.render(small(**WIDE), NO_CONDITIONS, ignore).frames, second)
    assert short_of_memory == [True]
    assert model.decoded_again == ()


class Gpu:
    """A placement on a GPU."""

    mode = "none"


def test_tiles_that_run_out_of_memory_too_say_so(model: Ltx2Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(model._text_to_video.vae, "decode", run_out)
        with pytest.raises(GpuOutOfMemory):
            model.render(small(), NO_CONDITIONS, ignore)
    model.render(small(), NO_CONDITIONS, ignore)
    assert model.decoded_again == ()


def test_a_sound_that_runs_out_of_memory_is_decoded_again(model: Ltx2Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.render(small(), NO_CONDITIONS, ignore).audio
    plain: Any = model._text_to_video.vocoder.forward
    tries: Iterator[bool] = iter([True, False])

    def run_out_once(*args: Any, **options: Any) -> Any:
        if next(tries):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*args, **options)

    monkeypatch.setattr(model._text_to_video.vocoder, "forward", run_out_once)
    assert np.array_equal(model.render(small(), NO_CONDITIONS, ignore).audio, expected)
    assert model.decoded_again == ("audio",)


def test_other_errors_are_not_tried_again(model: Ltx2Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise RuntimeError("a tensor of the wrong shape")

    monkeypatch.setattr(model._text_to_video.vae, "decode", fail)
    with pytest.raises(Exception, match="wrong shape"):
        model.render(small(), NO_CONDITIONS, ignore)
    assert tries == [1]


@pytest.mark.parametrize(("over", "tiles"), [(-1, True), (0, False)])
def test_the_whole_is_decoded_only_where_its_kernels_have_room_too(
    monkeypatch: pytest.MonkeyPatch, over: int, tiles: bool
) -> None:
    """Observed on an L40S: 704x1280 with 121 frames was decoded whole with 0.45 GB to spare."""
    request = small(height=704, width=1280, num_frames=121)
    free = decode_bytes(704, 1280, 121) + CUDA_BYTES + over
    monkeypatch.setattr(offload, "free_vram_bytes", lambda: free - 1000)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 4000)
    assert needs_tiles(request) is tiles


def test_tiles_are_off_after_a_decode(model: Ltx2Model, short_of_memory: list[bool]) -> None:
    """Otherwise the next input image would be encoded in tiles for this video's size."""
    use_tiles(model._text_to_video.vae, 64, 576)
    model.render(small(**WIDE), NO_CONDITIONS, ignore)
    assert not model._text_to_video.vae.use_tiling

"""Promise: the same request and seed give the same video, whatever was rendered before it."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.clip import Clip
from models.conditions import first_frame
from models.fixes import ALL
from models.ltx2.model import Ltx2Model
from models.memory import offload
from models.memory.offload_plan import OffloadMode, Placement
from models.request.request import VideoRequest
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES
from tests.models.reference import load, make_image

Task = tuple[VideoRequest, Image.Image | None, bool]
"""The request, its image, and whether it is decoded in tiles."""
Render = Callable[[Ltx2Model, Task], Clip]
IN_A_ROW = 4


def tasks() -> list[Task]:
    """Tasks whose sizes differ, so that the tiles of some are smaller than the images of others."""
    sizes = ({"height": 64, "width": 128}, {"height": 128, "width": 64}, {"height": 64, "width": 64})
    return [
        (small(seed=seed, prompt=f"cat {seed % 2}", quality=quality, stg_scale_video=0, **size), image, tiled)
        for seed, (size, image, tiled, quality) in enumerate(
            (size, image, tiled, ("exact", "fast")[tiled])
            for size in sizes
            for image in (None, make_image())
            for tiled in (False, True)
        )
    ]


@pytest.fixture(params=["2.0", "2.5"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Render:
    """Render as on a GPU with memory for the whole video, or for none of it."""

    def make(model: Ltx2Model, task: Task) -> Clip:
        request, image, tiled = task
        model.placement = Placement(OffloadMode.NONE, 0, 0)
        monkeypatch.setattr(offload, "usable_vram_bytes", lambda: 0 if tiled else 2**62)
        return model.render(request, first_frame(image), ignore)

    return make


def test_what_came_before_changes_nothing(family: str, tmp_path: Path, render: Render) -> None:
    folder = FAMILIES[family].build(tmp_path / "model")
    rng = random.Random(7)  # fixed seed for the test
    wanted = rng.sample(tasks(), 3)
    alone: list[Clip] = []
    for task in wanted:
        fresh = load(FAMILIES[family], folder, tmp_path, ALL)
        alone.append(render(fresh, task))
        fresh.close()
    model = load(FAMILIES[family], folder, tmp_path, ALL)
    for task in [*rng.choices(tasks(), k=IN_A_ROW), *wanted]:
        clip = render(model, task)
        for known, expected in zip(wanted, alone, strict=True):
            if known is task:
                assert np.array_equal(clip.frames, expected.frames), task
                assert np.array_equal(clip.audio, expected.audio), task
    model.close()


def test_tiles_of_a_video_do_not_reach_the_next_one_s_image(tmp_path: Path, render: Render) -> None:
    folder = FAMILIES["2.0"].build(tmp_path / "model")
    model = load(FAMILIES["2.0"], folder, tmp_path, ALL)
    before = model._denoise(small(), first_frame(make_image()), ignore)
    render(model, (small(width=64), None, True))
    after = model._denoise(small(), first_frame(make_image()), ignore)
    assert np.array_equal(before.video, after.video)
    model.close()

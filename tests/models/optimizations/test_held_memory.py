"""Promise: after every task, however it ends, the memory in use is what it was before: there is no leak."""

import gc
from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensor

from models.conditions import first_frame
from models.errors import TaskCanceled, VideoError
from models.ltx2.model import Ltx2Model
from models.optimizations.selection import choose_optimizations
from models.progress import Progress, Stage
from tests.models.conftest import ignore, small
from tests.models.optimizations.conftest import Build
from tests.models.test_ltx2 import make_image

STEPS = 4
"""The same for all renders here, because the scheduler keeps its table of them until the next task."""


@pytest.fixture(scope="module")
def model(build: Build) -> Ltx2Model:
    """A model with all caches of a GPU, after renders that create all objects that are created once."""
    model = build()
    model.apply_optimizations(choose_optimizations("auto", "cuda"))
    for image in (None, make_image()):
        model.render(small(num_inference_steps=STEPS), first_frame(image), ignore)
    return model


def held_bytes() -> int:
    """The bytes of all reachable tensors, each storage once. Fake tensors of a compiler's tracing do not count."""
    gc.collect()
    tensors = [
        each
        for each in gc.get_objects()
        if issubclass(type(each), torch.Tensor) and not issubclass(type(each), FakeTensor)
    ]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


@pytest.fixture(scope="module")
def before(model: Ltx2Model) -> int:
    """The memory in use before the first task. Measuring it visits all objects of the process, which takes long."""
    return held_bytes()


def failing(stage: Stage, step: int, kind: type[Exception], said: str) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if (progress.stage, progress.step) == (stage, step):
            raise kind(said)

    return report


ENDS = {
    "completed": ignore,
    "canceled while it denoises": failing(Stage.DENOISING, 1, TaskCanceled, "canceled"),
    "out of memory at the decoder": failing(Stage.DECODING, 0, torch.OutOfMemoryError, "CUDA out of memory"),
    "failed": failing(Stage.DENOISING, 2, RuntimeError, "a tensor of the wrong shape"),
}


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
@pytest.mark.parametrize("end", ENDS)
def test_a_task_leaves_nothing_behind(model: Ltx2Model, before: int, end: str, image: Image.Image | None) -> None:
    for quality in ("exact", "fast"):
        with suppress(VideoError):
            model.render(small(quality=quality, num_inference_steps=STEPS), first_frame(image), ENDS[end])
        assert held_bytes() == before

"""Promise: a base checkpoint's noise levels are Lightricks', whatever the size of the video."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx2.pipeline_ltx2 import calculate_shift

from models.conditions import NO_CONDITIONS
from models.errors import TaskCanceled
from models.ltx2.model import Ltx2Model
from models.progress import Progress
from tests.models.conftest import small
from tests.models.fixes.conftest import Loaded

STEPS = 40
SIZES: dict[int, dict[str, object]] = {
    384: {"height": 256, "width": 384, "num_frames": 25},
    6144: {"height": 512, "width": 768, "num_frames": 121},
}
"""By their number of tokens."""


def lightricks_sigmas(steps: int, shift: float = 2.05, terminal: float = 0.1) -> list[float]:
    """Levels from 1 down in equal steps, shifted, then stretched so that the last one before 0 is `terminal`."""
    shifted = [1 / (1 + math.exp(-shift) * (1 / (1 - step / steps) - 1)) for step in range(steps)]
    stretch = (1 - shifted[-1]) / (1 - terminal)
    return [*(1 - (1 - sigma) / stretch for sigma in shifted), 0.0]


def cancel(_progress: Progress) -> None:
    raise TaskCanceled("canceled")


def sigmas_of(model: Ltx2Model, **fields: object) -> Any:
    """The noise levels at the start of a render of this size. The render is canceled at its first transformer call."""
    with pytest.raises(TaskCanceled):
        model._denoise(small(num_inference_steps=STEPS, **fields), NO_CONDITIONS, cancel)
    return model._text_to_video.scheduler.sigmas


@pytest.mark.parametrize("tokens", SIZES)
def test_the_noise_levels_of_every_size_are_lightricks(loaded: Loaded, tokens: int) -> None:
    sigmas = sigmas_of(loaded("2.3"), **SIZES[tokens])
    assert torch.allclose(sigmas, torch.tensor(lightricks_sigmas(STEPS)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["2.0", "2.5 full"])
def test_so_are_those_of_every_family(loaded: Loaded, name: str) -> None:
    """The full transformer of LTX-2.5 comes with the scheduler of the distilled one."""
    sigmas = sigmas_of(loaded(name), **SIZES[384])
    assert torch.allclose(sigmas, torch.tensor(lightricks_sigmas(STEPS)), rtol=0, atol=1e-6)


def test_appended_tokens_leave_the_noise_levels_alone(loaded: Loaded) -> None:
    scheduler = loaded("2.3")._text_to_video.scheduler
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    shift = calculate_shift(384 + 6144 + 77, *(scheduler.config[name] for name in names))
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS), mu=shift)
    assert torch.allclose(scheduler.sigmas, torch.tensor(lightricks_sigmas(STEPS)), rtol=0, atol=1e-6)


def test_without_the_fix_a_small_video_has_other_noise_levels(loaded: Loaded) -> None:
    sigmas = sigmas_of(loaded("2.3", fixed=False), **SIZES[384])
    assert float((sigmas - torch.tensor(lightricks_sigmas(STEPS))).abs().max()) > 0.1

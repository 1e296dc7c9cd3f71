"""Promise: a fast task skips guidance after its first steps, and nothing else. An exact task is unchanged."""

from typing import Any

import pytest
import torch

from models.conditions import first_frame
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.optimizations.fast.guidance_interval import GuidanceInterval
from models.optimizations.install import install
from models.optimizations.selection import ALWAYS_FASTER
from models.request.enums import Quality
from tests.models.conftest import ignore, small
from tests.models.optimizations.conftest import STG_BLOCK, Build, counting, denoise, distance, transformer_of
from tests.models.test_ltx2 import make_image

STEPS = 4
UNGUIDED: dict[str, object] = {
    "cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0
}  # fmt: skip
NO_CFG: dict[str, object] = {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0}
IMAGES = pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])


def latents(model: Ltx2Model, image: Any = None, **fields: object) -> Latents:
    return model._denoise(small(num_inference_steps=STEPS, **fields), first_frame(image), ignore)


def guided_on(build: Build, share: float) -> Ltx2Model:
    """A model whose fast tasks guide this fraction of their steps."""
    model = build()
    options = LoadOptions(fast_guidance_fraction=share)
    return Ltx2Model(model.name, model.profile, model._text_to_video, model.placement, options)


def fast(model: Ltx2Model, image: Any = None, **fields: object) -> Latents:
    return latents(model, image, quality=Quality.FAST, **fields)


@IMAGES
def test_with_all_steps_guided_it_is_exact_to_the_bit(build: Build, image: Any) -> None:
    assert distance(fast(guided_on(build, 1.0), image), latents(build(), image)) == 0


@IMAGES
def test_a_step_that_is_not_guided_is_that_of_a_model_without_guidance(build: Build, image: Any) -> None:
    model = build()
    unguided = latents(model, image, **UNGUIDED)
    with model._fast._interval.only(0):
        assert distance(latents(model, image), unguided) == 0


def test_half_of_the_steps_cost_one_evaluation_instead_of_four(build: Build) -> None:
    model = build()
    with counting(transformer_of(model)) as rows:
        fast(model)
    guided_step = [2, 1, 1]
    assert rows[: 2 * len(guided_step)] == guided_step * 2
    with counting(transformer_of(model).transformer_blocks[0]) as rows:
        fast(model)
    assert rows == guided_step * 2 + [1] * 2


def test_without_a_negative_prompt_the_other_passes_are_left_out_too(build: Build) -> None:
    model = build()
    with counting(transformer_of(model).transformer_blocks[0]) as rows:
        fast(model, **NO_CFG)
    assert rows == [1, 1, 1] * 2 + [1] * 2


@pytest.mark.parametrize("fields", [{}, NO_CFG], ids=["guided", "without a negative prompt"])
def test_it_differs_and_the_next_task_is_exact_again(build: Build, fields: dict[str, object]) -> None:
    model = build()
    exact = latents(model, **fields)
    assert distance(fast(model, **fields), exact) > 0
    assert distance(latents(model, **fields), exact) == 0


@IMAGES
def test_the_speedups_and_it_bear_each_other(build: Build, image: Any) -> None:
    reference = fast(build(), image)
    model = build()
    install(transformer_of(model), ALWAYS_FASTER, (STG_BLOCK,))
    assert distance(fast(model, image), reference) < 2e-5
    assert distance(fast(model, image), reference) < 2e-5


def test_a_render_that_fails_leaves_no_trace(build: Build) -> None:
    model = build()
    exact = latents(model)

    def fail(*_args: Any, **_call: Any) -> None:
        raise RuntimeError("broken")

    block = transformer_of(model).transformer_blocks[0]
    block.forward = fail
    with pytest.raises(RuntimeError, match="broken"):
        fast(model)
    del block.forward
    assert distance(latents(model), exact) == 0


def test_what_is_left_out_is_told(build: Build) -> None:
    model = build()
    fast(model)
    assert model.fast_summary == f"guidance on {STEPS // 2} of {STEPS} steps"
    denoise(model)
    assert model.fast_summary == ""


def test_a_call_outside_of_a_fast_task_goes_through_as_it_is() -> None:
    class Transformer(torch.nn.Module):
        def forward(self, *, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (hidden_states,)

    transformer = Transformer()
    GuidanceInterval(transformer)
    states = torch.ones(2, 3)
    assert transformer(hidden_states=states)[0] is states

"""Every family renders, from text and from an image, the same as a plain diffusers call, bit for bit.

The fixes are off here. With them, a render equals Lightricks' pipelines (see models/fixes and tests/models/fixes).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint.locate import fetch_checkpoint
from models.checkpoint.profile import Family, read_profile
from models.checkpoint.sizes import measure_sizes
from models.conditions import NO_CONDITIONS, first_frame
from models.errors import TaskCanceled
from models.fixes import NONE
from models.ltx2.denoise import Latents
from models.ltx2.load import load_pipeline
from models.ltx2.model import Ltx2Model
from models.memory.offload_plan import plan_cpu
from models.optimizations.selection import ALWAYS_FASTER, Optimization
from models.progress import Progress, Stage
from models.request.adjustments import apply_adjustments, visible_to_client
from models.request.request import VideoRequest
from tests.models.conftest import ignore, small
from tests.models.families import FamilyCase
from tests.models.optimizations.conftest import distance
from tests.models.reference import assert_same, by_diffusers, load, make_image

ROUNDING = 2e-5
"""In float32, of latents whose values are about 1."""

CHANGES: dict[str, object] = {
    "prompt": "a dog",
    "negative_prompt": "rain",
    "seed": 43,
    "frame_rate": 30.0,
    "num_inference_steps": 3,
    "cfg_scale_video": 5.0,
    "cfg_scale_audio": 2.0,
    "stg_scale_video": 2.0,
    "modality_scale": 2.0,
    "quality": "fast",
}
"""One value for each parameter that changes the content but not the amount of work."""

images = pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])


@pytest.fixture(scope="module")
def model(family: FamilyCase, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = load(family, folder, tmp_path_factory.mktemp("cache"))
    yield model
    model.close()


def cancel_at_step_1(progress: Progress) -> None:
    if progress.stage is Stage.DENOISING and progress.step == 1:
        raise TaskCanceled("canceled")


@images
def test_it_renders_what_diffusers_renders_to_the_bit(
    family: FamilyCase, model: Ltx2Model, folder: Path, image: Image.Image | None
) -> None:
    request = small(num_frames=17, num_inference_steps=3)
    frames, audio = by_diffusers(folder, family, request, image)
    assert_same(model.render(request, first_frame(image), ignore), frames, audio)
    assert 0 < np.abs(audio).mean() < 0.9, "sound that is cut to 1 everywhere is always equal"


@images
def test_other_tasks_before_it_change_nothing(
    family: FamilyCase, model: Ltx2Model, folder: Path, image: Image.Image | None
) -> None:
    """A fast task of another size and kind, and one that was canceled halfway. The second time, the text is cached."""
    request = small(seed=3, prompt="a dog", num_inference_steps=3)
    frames, audio = by_diffusers(folder, family, request, image)
    assert_same(model.render(request, first_frame(image), ignore), frames, audio)
    model.render(small(height=128, quality="fast"), first_frame(make_image() if image is None else None), ignore)
    with pytest.raises(TaskCanceled):
        model.render(small(prompt="a bird"), first_frame(image), cancel_at_step_1)
    assert_same(model.render(request, first_frame(image), ignore), frames, audio)


@images
def test_every_parameter_acts_or_is_named_and_never_both(model: Ltx2Model, image: Image.Image | None) -> None:
    plain = adjusted_latents(model, small(), image)
    for field, value in CHANGES.items():
        request = small(**{field: value})
        named = field in [each.field for each in visible_to_client(model.find_adjustments(request))]
        changed = adjusted_latents(model, request, image)
        acts = not (torch.equal(changed.video, plain.video) and torch.equal(changed.audio, plain.audio))
        assert acts != named, field


def adjusted_latents(model: Ltx2Model, request: VideoRequest, image: Image.Image | None) -> Latents:
    return model._denoise(apply_adjustments(request, model.find_adjustments(request)), first_frame(image), ignore)


@images
def test_whatever_is_sped_up_stays_within_rounding(
    family: FamilyCase, model: Ltx2Model, folder: Path, tmp_path: Path, image: Image.Image | None
) -> None:
    fast = load(family, folder, tmp_path)
    fast.apply_optimizations(ALWAYS_FASTER)
    request = small(num_frames=17, num_inference_steps=3)
    given = first_frame(image)
    assert distance(fast._denoise(request, given, ignore), model._denoise(request, given, ignore)) <= ROUNDING
    assert (Optimization.TEXT_KV_CACHE in fast.optimizations) == (fast.profile.family is Family.LTX_2_0)
    fast.close()


@images
def test_in_bfloat16_as_on_a_gpu_only_the_last_rounding_differs(
    family: FamilyCase, folder: Path, tmp_path: Path, image: Image.Image | None
) -> None:
    """diffusers rounds the finished frames to bfloat16 once more before they become bytes."""
    seen = fetch_checkpoint(str(folder), tmp_path, ignore, family.checkpoint_type)
    profile = read_profile(seen, family.checkpoint_type)
    half = Ltx2Model("half", profile, load_pipeline(seen, profile, "cuda", NONE), plan_cpu(2**62, measure_sizes(seen)))
    request = small(num_inference_steps=2)
    frames, audio = by_diffusers(folder, family, request, image, torch.bfloat16)
    rendered = half.render(request, first_frame(image), ignore)
    assert np.array_equal(rendered.audio, audio[:, : rendered.audio.shape[1]])
    assert np.abs(rendered.frames.astype(int) - frames).max() <= 1
    half.close()


def test_the_sound_has_the_rate_of_the_family_s_vocoder(family: FamilyCase, model: Ltx2Model) -> None:
    assert model.render(small(), NO_CONDITIONS, ignore).sample_rate_hz == family.sample_rate_hz

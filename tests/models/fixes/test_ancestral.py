"""Promise: the distilled LTX-2.5 is sampled like in Lightricks' pipeline, and a seed gives the same noise."""

import copy

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import Tensor

from models.checkpoint.profile import DISTILLED_SIGMAS
from models.conditions import first_frame
from models.fixes.ancestral import AncestralEuler
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.request.adjustments import apply_adjustments
from tests.models.conftest import ignore, small
from tests.models.fixes.conftest import Loaded
from tests.models.optimizations.conftest import distance
from tests.models.reference import make_image

LEVELS = (*DISTILLED_SIGMAS, 0.0)
ROUNDING = 2e-5
"""In float32, of numbers up to 5 after eight steps."""


def step(sample: Tensor, velocity: Tensor, now: float, following: float, noise: Tensor) -> Tensor:
    """An Euler step to a level below the next one, then new noise up to the next level, with the correct variance."""
    down = following * following / now
    clean = sample - now * velocity
    lower = clean + down * (sample - clean) / now
    if following == 0:
        return clean
    shrunk = (1 - following) / (1 - down)
    return shrunk * lower + (following**2 - (down * shrunk) ** 2) ** 0.5 * noise


def render(model: Ltx2Model, image: Image.Image | None = None, **fields: object) -> Latents:
    """The latents of a small request, as a distilled model renders it."""
    request = small(**fields)
    return model._denoise(apply_adjustments(request, model.find_adjustments(request)), first_frame(image), ignore)


def test_each_step_of_image_and_sound_is_an_ancestral_one() -> None:
    """As the pipeline calls them: a copy of the scheduler for the audio, which is stepped after the video."""
    scheduler = AncestralEuler()
    scheduler.seed(42)
    audio_scheduler = copy.deepcopy(scheduler)
    for each in (scheduler, audio_scheduler):
        each.set_timesteps(8, device="cpu", sigmas=list(DISTILLED_SIGMAS), mu=1.0)
    draw, noise = torch.Generator().manual_seed(1), torch.Generator().manual_seed(42 + 10_000)
    video, audio = torch.randn(1, 6, 4, generator=draw), torch.randn(1, 3, 4, generator=draw)
    assert len(scheduler.timesteps) == len(DISTILLED_SIGMAS)
    for i, timestep in enumerate(scheduler.timesteps):
        velocities = [torch.randn(each.shape, generator=draw) for each in (video, audio)]
        last = LEVELS[i + 1] == 0
        noises = [torch.zeros(()) if last else torch.randn(each.shape, generator=noise) for each in (video, audio)]
        expected = [
            step(*these, LEVELS[i], LEVELS[i + 1], drawn)
            for these, drawn in zip(zip((video, audio), velocities, strict=True), noises, strict=True)
        ]
        video = scheduler.step(velocities[0], timestep, video, return_dict=False)[0]
        audio = audio_scheduler.step(velocities[1], timestep, audio, return_dict=False)[0]
        for made, wanted in zip((video, audio), expected, strict=True):
            assert float((made - wanted).abs().max()) <= ROUNDING


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
def test_the_same_seed_gives_the_same_video_and_another_another(loaded: Loaded, image: Image.Image | None) -> None:
    model = loaded("2.5")
    first, other = render(model, image, seed=1), render(model, image, seed=2)
    assert distance(render(model, image, seed=1), first) == 0
    assert distance(other, first) > 0


def test_a_render_takes_eight_steps_at_the_distilled_levels(loaded: Loaded) -> None:
    model = loaded("2.5")
    seen: list[float] = []
    transformer = model._text_to_video.transformer
    hook = transformer.register_forward_pre_hook(
        lambda _module, _args, call: seen.append(float(call["timestep"][0])), with_kwargs=True
    )
    render(model)
    hook.remove()
    assert seen == pytest.approx([1000 * sigma for sigma in DISTILLED_SIGMAS])


def test_its_noise_acts(loaded: Loaded) -> None:
    """Compared with deterministic steps from the same initial noise."""
    model = loaded("2.5")
    sampled = render(model)
    assert distance(deterministic(model), sampled) > 0.1


def deterministic(model: Ltx2Model) -> Latents:
    pipe = model._text_to_video
    kept = pipe.scheduler
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False, shift_terminal=None)
    try:
        return render(model)
    finally:
        pipe.scheduler = kept


@pytest.mark.parametrize("name", ["2.3 distilled", "2.5 full", "2.0 distilled"])
def test_no_other_is_sampled_so(loaded: Loaded, name: str) -> None:
    assert isinstance(loaded(name)._text_to_video.scheduler, FlowMatchEulerDiscreteScheduler)

"""Promise: a control video is appended as the reference appends it: its tokens, where they are, and their timesteps."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2InContextPipeline, LTX2ReferenceCondition
from torch import Tensor

from models.conditions import NO_CONDITIONS, Conditions, ControlCondition, GivenTokens, ImageCondition
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.memory.estimate import denoise_bytes
from models.request.enums import Upscale
from models.request.places import LAST, Place
from models.yuv import planes_to_float, rgb_to_planes
from tests.models.conftest import ignore, small
from tests.models.given.conftest import ROUNDING, adjusted, calls_of, latents_of
from tests.models.optimizations.conftest import distance
from tests.models.reference import UNGUIDED, make_image

FIELDS: dict[str, object] = {"num_frames": 17, "frame_rate": 24.0}
SIDE_OF_TOKEN = 32
FACTORS = (1, 2)


@pytest.fixture(scope="module", params=["2.0", "2.3 distilled", "2.5"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def control(factor: int = 1, strength: float = 1.0, count: int = 17, height: int = 64) -> ControlCondition:
    """A control video for a result of 64x128 pixels."""
    shape = (count, height // factor, 2 * height // factor, 3)
    frames = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    return ControlCondition(rgb_to_planes(frames), "any", strength, factor)


def given(factor: int = 1, strength: float = 1.0) -> Conditions:
    return Conditions(control=control(factor, strength))


def encoded(model: Ltx2Model, frames: Any) -> Tensor:
    """The normalized, packed latents of planes."""
    pipe = model._conditioned
    pixels = planes_to_float(torch.from_numpy(frames))[None].to(pipe.vae.dtype)
    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latent_dist.mode()
    mean, std = (each.view(1, -1, 1, 1, 1) for each in (pipe.vae.latents_mean, pipe.vae.latents_std))
    return ((latents - mean) / std).flatten(2).transpose(1, 2)


def places(factor: int, rate: float = 24.0) -> Tensor:
    """From and to of each token of three latent frames, in seconds and in pixels, as the reference counts them."""
    found = []
    for frame in range(3):
        for row in range(2 // factor):
            for column in range(4 // factor):
                seconds = (max(0, 8 * frame - 7) / rate, (8 * frame + 1) / rate)
                side = SIDE_OF_TOKEN * factor
                found.append((seconds, (row * side, (row + 1) * side), (column * side, (column + 1) * side)))
    return torch.tensor(found).transpose(0, 1)[None]


@pytest.mark.parametrize("factor", FACTORS)
def test_its_tokens_are_clean_and_where_the_video_has_them_in_every_step(model: Ltx2Model, factor: int) -> None:
    own, count = 3 * 2 * 4, 3 * 2 * 4 // factor**2
    with calls_of(model) as calls:
        found = latents_of(model, given(factor), **FIELDS)
    tokens = encoded(model, control(factor).frames)
    assert tokens.shape[1] == count
    for call in calls:
        assert call["hidden_states"].shape[1] == own + count
        assert torch.allclose(call["hidden_states"][-1:, own:], tokens, atol=ROUNDING)
        assert not call["timestep"][:, own:].any()
        assert call["timestep"][:, :own].all()
        assert torch.allclose(call["video_coords"][:1, :, own:], places(factor))
    assert torch.allclose(calls[0]["video_coords"][:1, :, :own], places(1))
    assert found.video.shape[2] == 3
    assert distance(found, latents_of(model, NO_CONDITIONS, **FIELDS)) > ROUNDING


@pytest.mark.parametrize("factor", FACTORS)
def test_it_is_what_diffusers_makes_of_it(model: Ltx2Model, name: str, factor: int) -> None:
    """The whole loop, where it is unguided and its sampler adds no noise. The noise is ours."""
    if name != "2.3 distilled":
        pytest.skip("its scheduler or its guidance is not that of the pipeline")
    with calls_of(model) as calls:
        found = latents_of(model, given(factor), **FIELDS)
    assert distance(found, by_diffusers(model, control(factor), calls[0])) <= ROUNDING


def by_diffusers(model: Ltx2Model, video: ControlCondition, first: dict[str, Any]) -> Latents:
    components = model._text_to_video.components
    names = components.keys() & inspect.signature(LTX2InContextPipeline.__init__).parameters.keys()
    pipe: Any = LTX2InContextPipeline(**{name: components[name] for name in names})
    pipe.set_progress_bar_config(disable=True)
    prepare = pipe.prepare_latents
    pipe.prepare_latents = lambda **options: (first["hidden_states"], *prepare(**options)[1:])
    pipe.prepare_audio_latents = lambda *_, **__: first["audio_hidden_states"]
    frames = (planes_to_float(torch.from_numpy(video.frames)).transpose(0, 1) + 1) / 2
    found = pipe(
        reference_conditions=LTX2ReferenceCondition(frames, video.strength),
        reference_downscale_factor=video.downscale_factor,
        prompt=small().prompt,
        height=64,
        width=128,
        **FIELDS,
        **UNGUIDED,
        sigmas=list(model.profile.sigmas or ()),
        num_inference_steps=len(model.profile.sigmas or ()),
        use_cross_timestep=model.profile.use_cross_timestep,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        return_dict=False,
    )
    return Latents(*found[:2])


def test_the_strength_scales_the_timesteps_and_acts(model: Ltx2Model) -> None:
    results = []
    for strength in (0.25, 1.0):
        with calls_of(model) as calls:
            results.append(latents_of(model, given(1, strength), **FIELDS))
        call, own = calls[0], 3 * 2 * 4
        expected = call["sigma"][:, None] * (1 - strength)
        assert torch.allclose(call["timestep"][:, own:], expected.expand(-1, own))
    assert distance(*results) > ROUNDING


def test_it_leaves_the_noise_of_the_seed_alone_and_the_next_render(model: Ltx2Model) -> None:
    with calls_of(model) as plain:
        before = latents_of(model, NO_CONDITIONS, **FIELDS)
    with calls_of(model) as controlled:
        latents_of(model, given(), **FIELDS)
    count = plain[0]["hidden_states"].shape[1]
    assert torch.equal(controlled[0]["hidden_states"][:, :count], plain[0]["hidden_states"])
    assert torch.equal(controlled[0]["audio_hidden_states"], plain[0]["audio_hidden_states"])
    assert distance(before, latents_of(model, NO_CONDITIONS, **FIELDS)) == 0


def test_it_goes_with_images_and_comes_after_them(model: Ltx2Model) -> None:
    images = (ImageCondition(make_image(), Place(0, 1.0)), ImageCondition(make_image(), Place(LAST, 1.0)))
    with calls_of(model) as calls:
        latents_of(model, Conditions(images, control=control(2)), **FIELDS)
    own, image, count = 3 * 8, 8, 3 * 2
    call = calls[-1]
    assert call["hidden_states"].shape[1] == own + image + count
    assert torch.allclose(call["hidden_states"][-1:, -count:], encoded(model, control(2).frames), atol=ROUNDING)
    assert not call["timestep"][:, :image].any()
    assert not call["timestep"][:, own:].any()


def test_a_whole_first_image_comes_back_while_it_is_followed(model: Ltx2Model) -> None:
    first = (ImageCondition(make_image()),)
    image, both, followed = (
        latents_of(model, conditions, **FIELDS)
        for conditions in (Conditions(first), Conditions(first, control=control()), given())
    )
    assert torch.allclose(both.video[:, :, :1], image.video[:, :, :1], atol=ROUNDING)
    for other in (image, followed):
        assert float((both.video[:, :, 1:] - other.video[:, :, 1:]).abs().max()) > 100 * ROUNDING
    assert distance(both, followed) > 100 * ROUNDING


def test_all_optimizations_render_the_same(model: Ltx2Model, faster: Ltx2Model) -> None:
    conditions = given(2)
    one, other = latents_of(model, conditions, **FIELDS), latents_of(faster, conditions, **FIELDS)
    assert distance(one, other) <= 10 * ROUNDING
    faster.close()


def test_the_last_frame_of_a_short_one_stays_and_what_is_too_long_is_cut(model: Ltx2Model) -> None:
    whole = control().frames
    held = np.concatenate([whole[:12], np.repeat(whole[11:12], 5, axis=0)])
    short, long, same = (
        latents_of(model, Conditions(control=ControlCondition(frames, "any")), **FIELDS)
        for frames in (whole[:12], np.concatenate([held, whole]), held)
    )
    assert distance(short, same) == 0
    assert distance(long, same) == 0


def test_a_render_has_the_frames_of_the_request_and_audio_of_its_own(model: Ltx2Model) -> None:
    clip = model.render(adjusted(model, num_frames=12), given(), ignore)
    assert clip.frames.shape[0] == 12
    assert clip.audio is not None


def test_memory_counts_its_tokens() -> None:
    request = small(num_frames=121, height=512, width=768)
    none, whole, half = (denoise_bytes(request, GivenTokens(True, control_factor=factor)) for factor in (0, 1, 2))
    assert none < half < whole
    assert (half - none) * 4 == whole - none
    assert given(2).tokens == GivenTokens(True, control_factor=2)
    upscaled = request.model_copy(update={"upscale": Upscale.TWICE})
    without, first = (denoise_bytes(upscaled, GivenTokens(True, control_factor=factor)) for factor in (0, 1))
    assert without < first < none  # the first of two stages has it, with a quarter of the tokens

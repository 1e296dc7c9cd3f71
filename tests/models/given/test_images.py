"""Promise: given images come back in the latents, at the frame that the client named, and change no other seed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.conditions import NO_CONDITIONS, Conditions, ImageCondition, first_frame
from models.fixes import NONE
from models.fixes.ancestral import AncestralEuler, KeptTokens
from models.ltx2.denoise import Latents, condition_arguments
from models.ltx2.model import Ltx2Model
from models.request.places import LAST, Place
from tests.models.conftest import ignore, small
from tests.models.families import FamilyCase
from tests.models.given.conftest import (
    ROUNDING,
    TOKENS_PER_FRAME,
    adjusted,
    by_conditioned_pipeline,
    calls_of,
    latents_of,
    unpacked_video,
)
from tests.models.optimizations.conftest import distance
from tests.models.reference import load, make_image

ANCESTRAL = "2.5"
"""The family whose sampler adds noise. From an image alone, diffusers draws it for the other frames only."""


def other_image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(9).integers(0, 256, (64, 128, 3), dtype=np.uint8))


def first(strength: float = 1.0) -> ImageCondition:
    return ImageCondition(make_image(), Place(0, strength))


def at(frame: int, strength: float = 1.0) -> ImageCondition:
    return ImageCondition(other_image(), Place(frame, strength))


def latents(model: Ltx2Model, *given: ImageCondition, **fields: object) -> Latents:
    return latents_of(model, Conditions(given), **fields)


def encoded(model: Ltx2Model, image: Image.Image) -> Tensor:
    """The normalized latents of an image of the video's size, packed."""
    pipe = model._conditioned
    given = condition_arguments(first_frame(image), small(), pipe.text_encoder, ignore)["conditions"]
    tokens: Tensor = pipe._encode(given.images[0], torch.zeros(1), 9, 25.0).latents
    return tokens


def test_nothing_given_is_text_to_video(model: Ltx2Model) -> None:
    assert (
        distance(by_conditioned_pipeline(model, NO_CONDITIONS, num_frames=17), latents(model, num_frames=17))
        <= ROUNDING
    )


def test_a_whole_first_image_alone_is_image_to_video_to_the_bit(
    family: FamilyCase, folder: Path, model: Ltx2Model, name: str, tmp_path: Path
) -> None:
    plain = load(family, folder, tmp_path, NONE)
    for each in (plain, *(() if name == ANCESTRAL else (model,))):
        from_image = each._denoise(adjusted(each, num_frames=17), first_frame(make_image()), ignore)
        assert distance(by_conditioned_pipeline(each, Conditions((first(),)), num_frames=17), from_image) == 0
        assert distance(latents(each, first(), num_frames=17), from_image) == 0
    plain.close()


def test_the_first_image_is_exactly_the_first_latent_frame(model: Ltx2Model) -> None:
    found = latents(model, first(), at(LAST), num_frames=17)
    assert torch.equal(found.video[:, :, :1], unpacked_video(model, encoded(model, make_image())))


@pytest.mark.parametrize(("num_frames", "frame", "shown"), [(17, LAST, 16), (12, LAST, 11), (17, 5, 5)])
def test_another_image_is_kept_in_every_step_at_its_own_frame(
    model: Ltx2Model, num_frames: int, frame: int, shown: int
) -> None:
    """One frame long. With a length that is not 8k+1, the last one is the last that is kept."""
    with calls_of(model) as calls:
        found = latents(model, at(frame), num_frames=num_frames, frame_rate=24.0)
    tokens = encoded(model, other_image())
    for call in calls:
        assert torch.equal(call["hidden_states"][-1:, -TOKENS_PER_FRAME:], tokens)
        assert not call["timestep"][:, -TOKENS_PER_FRAME:].any()
        assert call["timestep"][:, :-TOKENS_PER_FRAME].all()
        seconds = call["video_coords"][0, 0, -TOKENS_PER_FRAME:] * 24
        assert torch.allclose(seconds, torch.tensor([float(shown), shown + 1.0]).expand(TOKENS_PER_FRAME, 2))
    assert found.video.shape[2] == (num_frames + 6) // 8 + 1
    assert distance(found, latents(model, num_frames=num_frames, frame_rate=24.0)) > ROUNDING


def test_where_the_model_chooses_the_length_the_last_frame_is_that_of_its_choice(model: Ltx2Model) -> None:
    if not model.profile.duration_head:
        pytest.skip("this family cannot choose")
    with calls_of(model) as calls:
        found = latents(model, at(LAST), num_frames=49, length="auto", frame_rate=24.0)
    last = float(calls[0]["video_coords"][0, 0, -1, 0] * 24)
    assert last == pytest.approx(min(found.num_frames, 49) - 1)
    assert found.num_frames < 49


@pytest.mark.parametrize("frame", [0, LAST])
def test_the_strength_scales_the_timestep_and_acts(model: Ltx2Model, frame: int) -> None:
    results = []
    for strength in (0.25, 0.75, 1.0):
        with calls_of(model) as calls:
            results.append(latents(model, at(frame, strength), num_frames=17))
        part = slice(TOKENS_PER_FRAME) if frame == 0 else slice(-TOKENS_PER_FRAME, None)
        call = calls[0]
        expected = call["sigma"][:, None] * (1 - strength)
        assert torch.allclose(call["timestep"][:, part], expected.expand(-1, TOKENS_PER_FRAME))
    assert all(distance(one, other) > ROUNDING for one, other in pairwise(results))


def test_keyframes_leave_the_noise_of_the_seed_alone(model: Ltx2Model) -> None:
    """Of the video, and of the audio. Without the schedule's fix the number of tokens would also change the levels."""
    with calls_of(model) as plain:
        latents(model, num_frames=17)
    with calls_of(model) as conditioned:
        latents(model, at(8, 0.5), at(LAST), num_frames=17)
    count = plain[0]["hidden_states"].shape[1]
    assert torch.equal(conditioned[0]["hidden_states"][:, :count], plain[0]["hidden_states"])
    assert torch.equal(conditioned[0]["audio_hidden_states"], plain[0]["audio_hidden_states"])
    assert [float(call["sigma"][0]) for call in conditioned] == [float(call["sigma"][0]) for call in plain]


def test_other_tasks_before_it_change_nothing(model: Ltx2Model) -> None:
    text, image = latents(model), latents(model, first())
    both = latents(model, first(0.5), at(LAST))
    assert distance(latents(model), text) == 0
    assert distance(latents(model, first()), image) == 0
    assert distance(latents(model, first(0.5), at(LAST)), both) == 0


@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_the_optimizations_work_under_it(model: Ltx2Model, faster: Ltx2Model, quality: str) -> None:
    given = (first(0.7), at(8), at(LAST, 0.5))
    found = latents(faster, *given, num_frames=17, quality=quality)
    assert distance(found, latents(model, *given, num_frames=17, quality=quality)) <= ROUNDING
    faster.close()


def test_only_the_first_latent_frame_is_marked_as_one_frame(model: Ltx2Model) -> None:
    """As in Lightricks' pipelines: a given keyframe is not marked."""
    if not model._text_to_video.transformer.config.get("use_keyframes_abs_pos_embedding"):
        pytest.skip("this family has no embedding")
    with calls_of(model) as calls:
        latents(model, at(LAST), num_frames=17)
    for call in calls:
        marked = call["video_keyframes_mask"][0, :, 0]
        assert marked[:TOKENS_PER_FRAME].all()
        assert not marked[TOKENS_PER_FRAME:].any()
        assert len(marked) == call["hidden_states"].shape[1]


def test_a_clip_of_given_images_is_as_long_as_any_other(model: Ltx2Model) -> None:
    clip = model.render(small(num_frames=12), Conditions((first(), at(LAST))), ignore)
    assert clip.frames.shape == (12, 64, 128, 3)


def test_the_sampler_s_noise_of_the_video_does_not_depend_on_appended_tokens() -> None:
    """And the audio's, which is drawn after it, neither."""
    drawn = torch.Generator().manual_seed(3)
    sample, velocity = torch.randn(1, 6, 4, generator=drawn), torch.randn(1, 6, 4, generator=drawn)
    plain, keeping = AncestralEuler(), AncestralEuler()
    for each in (plain, keeping):
        each.seed(42)
        each.set_timesteps(sigmas=[1.0, 0.7, 0.3])
    strength = torch.zeros(1, 8, 1)
    strength[:, 7] = 1
    clean = torch.full((1, 8, 4), 5.0)
    keeping.keep(KeptTokens(strength, clean, 6, torch.Generator().manual_seed(1)))
    more = torch.cat([sample, torch.zeros(1, 2, 4)], dim=1), torch.cat([velocity, torch.ones(1, 2, 4)], dim=1)
    for timestep in plain.timesteps:
        sample = plain.step(velocity, timestep, sample, return_dict=False)[0]
        stepped = keeping.step(more[1], timestep, more[0], return_dict=False)[0]
        assert torch.equal(stepped[:, :6], sample)
        if timestep != plain.timesteps[-1]:
            assert (stepped[:, 7] == 5).all()
            assert not (stepped[:, 6] == 5).any()
        more = stepped, more[1]
    assert torch.equal(torch.randn(3, generator=plain._generator), torch.randn(3, generator=keeping._generator))

"""Promise: video-to-video starts from the source, at a step of the whole schedule that its strength says."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from models.conditions import ClipCondition, Conditions
from models.ltx2.late_start import start_arguments
from models.ltx2.model import Ltx2Model
from models.preview import UNLIMITED, PreviewOptions, preview_steps
from models.progress import Progress, Stage
from models.request.edits import Edit, V2vMode, video_to_video
from models.waveform import Waveform
from tests.models.conftest import ignore, raise_it, small
from tests.models.given.conftest import ROUNDING, adjusted, by_conditioned_pipeline, calls_of, latents_of
from tests.models.given.test_clip import (
    RATE_HZ,
    SOURCE_FRAMES,
    audio,
    encoded_audio,
    encoded_clip,
    fields,
    planes,
    source,
)
from tests.models.optimizations.conftest import distance

BOTH = V2vMode.AUDIO_AND_VIDEO


def change(strength: float, mode: V2vMode = BOTH, *, silent: bool = False) -> Conditions:
    return source(video_to_video(SOURCE_FRAMES, strength, mode), silent=silent)


def steps(model: Ltx2Model) -> dict[str, object]:
    """Ten steps, where the checkpoint does not have steps of its own."""
    return {**fields(), **({} if model.profile.sigmas else {"num_inference_steps": 10})}


def levels_of(calls: list[dict[str, Tensor]]) -> list[float]:
    """The noise level of each step."""
    levels = [float(call["sigma"].flatten()[-1]) / 1000 for call in calls]
    return list(dict.fromkeys(levels))


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def test_a_strength_of_one_gives_the_source_back(model: Ltx2Model) -> None:
    given = change(1)
    found = latents_of(model, given, **fields())
    assert torch.equal(found.video, encoded_clip(model, given, SOURCE_FRAMES))
    assert torch.equal(found.audio, encoded_audio(model, audio(), found.audio.shape[2]))


def test_a_strength_of_zero_is_text_to_video(model: Ltx2Model) -> None:
    found = latents_of(model, change(0), **fields())
    plain = by_conditioned_pipeline(model, Conditions(), **fields())
    assert distance(found, plain) <= ROUNDING


def test_the_steps_that_are_run_are_the_last_ones_of_the_whole_schedule(model: Ltx2Model) -> None:
    with calls_of(model) as whole:
        latents_of(model, Conditions(), **steps(model))
    with calls_of(model) as late:
        latents_of(model, change(0.5), **steps(model))
    count = len(levels_of(whole)) // 2
    assert levels_of(late) == levels_of(whole)[-count:]
    assert levels_of(late)[0] < 1


def test_the_tokens_start_with_the_noise_of_the_first_step(model: Ltx2Model) -> None:
    """Those of text-to-video, mixed with the source's at the first noise level of the steps that are run."""
    given = change(0.5)
    with calls_of(model) as whole:
        latents_of(model, Conditions(), **steps(model))
    with calls_of(model) as late:
        latents_of(model, given, **steps(model))
    level = levels_of(late)[0]
    assert given.clip is not None
    noise, pipe = whole[0]["hidden_states"][-1:], model._conditioned
    heard = whole[0]["audio_hidden_states"][-1:]
    with torch.no_grad():
        seen = pipe._clip_tokens(given.clip, SOURCE_FRAMES, noise)
        sounds = pipe._audio_tokens(audio(), heard)
    found = late[0]["hidden_states"][-1:], late[0]["audio_hidden_states"][-1:]
    assert apart(found[0], noise * level + seen * (1 - level)) <= ROUNDING
    assert apart(found[1], heard * level + sounds * (1 - level)) <= ROUNDING


def test_the_stronger_the_nearer_to_the_source(model: Ltx2Model) -> None:
    strengths = (0.3, 0.6, 0.9, 1)
    found = [latents_of(model, change(strength), **steps(model)) for strength in strengths]
    for of in ("video", "audio"):
        far = [apart(getattr(each, of), getattr(found[-1], of)) for each in found]
        assert all(more > less for more, less in pairwise(far)), (of, far)


@pytest.mark.parametrize("strength", [0.5, 1])
def test_the_audio_of_the_source_can_stay(model: Ltx2Model, strength: float) -> None:
    with calls_of(model) as calls:
        found = latents_of(model, change(strength, V2vMode.VIDEO), **steps(model))
    assert torch.equal(found.audio, encoded_audio(model, audio(), found.audio.shape[2]))
    assert not any(call["audio_sigma"].any() for call in calls)
    clip = model.render(small(**fields()), change(strength, V2vMode.VIDEO), ignore)
    assert clip.audio is not None
    assert (clip.audio == audio().samples).all()


def test_a_source_without_audio_counts_as_silent(model: Ltx2Model) -> None:
    assert model.render(small(**fields()), change(0.5, V2vMode.VIDEO, silent=True), ignore).audio is None
    silence = Waveform(np.zeros_like(audio().samples), RATE_HZ)
    silent = ClipCondition(planes(), silence, video_to_video(SOURCE_FRAMES, 0.5, BOTH))
    expected = latents_of(model, Conditions(clip=silent), **fields())
    assert distance(latents_of(model, change(0.5, silent=True), **fields()), expected) <= ROUNDING


def test_all_frames_are_those_that_were_made(model: Ltx2Model) -> None:
    clip = model.render(small(**fields()), change(0.5), ignore)
    assert (len(clip.frames), clip.audio is None) == (SOURCE_FRAMES, False)
    assert not any((one == other).all() for one, other in zip(clip.frames, planes(), strict=True))


def test_previews_are_spread_over_the_steps_that_are_run(model: Ltx2Model) -> None:
    made: list[int] = []
    previews = PreviewOptions(lambda preview: made.append(preview.step), raise_it, UNLIMITED)
    model.render(small(**steps(model)), change(0.4), ignore, previews)
    run = change(0.4).with_steps_run(adjusted(model, **steps(model))).num_inference_steps
    assert tuple(made) == preview_steps(run)


@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_the_optimizations_work_under_it(model: Ltx2Model, faster: Ltx2Model, quality: str) -> None:
    for mode in V2vMode:
        found = latents_of(faster, change(0.5, mode), **steps(model), quality=quality)
        expected = latents_of(model, change(0.5, mode), **steps(model), quality=quality)
        assert distance(found, expected) <= ROUNDING
    faster.close()


def test_quality_fast_guides_a_part_of_the_steps_that_are_run(model: Ltx2Model) -> None:
    if model.profile.sigmas is not None:
        return
    latents_of(model, change(0.5), **steps(model), quality="fast")
    assert model.fast_summary == "guidance on 3 of 5 steps"


def test_progress_counts_the_steps_that_are_run(model: Ltx2Model) -> None:
    told: list[Progress] = []
    request = adjusted(model, **steps(model))
    model.render(request, change(0.5), told.append)
    count = change(0.5).with_steps_run(request).num_inference_steps
    done = [each.step for each in told if each.stage is Stage.DENOISING]
    assert max(done) == count == request.num_inference_steps // 2
    assert Progress(Stage.DENOISING, count).fraction(count) == Progress(Stage.DECODING).fraction(count)


def test_another_edit_has_no_start_of_its_own(model: Ltx2Model) -> None:
    request, scheduler = adjusted(model, **fields()), model._conditioned.scheduler
    for edit in (None, Edit(10, 16), video_to_video(33, 0)):
        assert start_arguments(scheduler, model.profile, request, edit) == {}

"""What is given is kept in both stages, at the full size of the video."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.conditions import AudioCondition, ClipCondition, Conditions, ImageCondition, first_frame
from models.errors import TaskCanceled
from models.ltx2.encode import encode_clip
from models.ltx2.model import Ltx2Model
from models.progress import Progress, Stage
from models.request.edits import Edit
from models.request.places import LAST, Place
from models.waveform import Waveform
from models.yuv import halve_planes, rgb_to_planes
from tests.models.conftest import ignore
from tests.models.two_stages.conftest import upscaled

SIDE = 128
CLOSE = 1e-4


def image_of(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def encoded(model: Ltx2Model, image: Image.Image, side: int) -> Tensor:
    """The latents that an image of this side has, as image-to-video encodes it."""
    from models.ltx2.denoise import compress_image

    pipe = model._conditioned
    pixels = pipe.video_processor.preprocess(compress_image(image, side, side, pipe.text_encoder))
    with torch.no_grad():
        latents: Tensor = pipe.vae.encode(pixels.unsqueeze(2)).latent_dist.mode()
    return latents


def test_a_first_image_is_kept_at_full_size(plain: Ltx2Model) -> None:
    """diffusers' image-to-video would leave the doubled latents of the first stage there."""
    image = image_of(1)
    latents = plain._render_latents(upscaled(plain), first_frame(image), ignore)
    assert (latents.video[:, :, :1] - encoded(plain, image, SIDE)).abs().max() <= CLOSE


def test_a_last_image_changes_the_end_of_both_stages(plain: Ltx2Model) -> None:
    place = Place(LAST, 1.0)
    given = [Conditions((ImageCondition(image_of(seed), place),)) for seed in (1, 2)]
    one, other = (plain._render_latents(upscaled(plain), each, ignore) for each in given)
    assert one.video.shape == (1, 16, 3, 4, 4)
    assert not torch.equal(one.video, other.video)


def tone(seconds: float, hz: float) -> Waveform:
    times = np.arange(int(seconds * 16_000)) / 16_000
    return Waveform(np.tile(np.sin(2 * np.pi * hz * times), (2, 1)).astype(np.float32), 16_000)


def test_given_audio_is_kept_in_both_stages(plain: Ltx2Model) -> None:
    request = upscaled(plain)
    ends = [
        plain._render_latents(
            request.model_copy(update={"seed": seed}), Conditions(audio=AudioCondition(tone(1, 440))), ignore
        )
        for seed in (1, 2)
    ]
    assert (ends[0].audio - ends[1].audio).abs().max() <= CLOSE
    assert not torch.equal(ends[0].video, ends[1].video)


def test_a_clip_is_kept_outside_the_window_at_full_size(plain: Ltx2Model) -> None:
    frames = rgb_to_planes(np.random.default_rng(3).integers(0, 256, (17, SIDE, SIDE, 3), dtype=np.uint8))
    clip = ClipCondition(frames, None, Edit(start_frame=9, end_frame=17, replaces_audio=True, replaces_video=True))
    request = upscaled(plain)
    given = Conditions(clip=clip)
    latents = plain._render_latents(given.rendered_request(request), given.within(request), ignore)
    with torch.no_grad():
        source = encode_clip(plain._conditioned.vae, given.within(request).clip, 17, torch.device("cpu"))
    assert (latents.video[:, :, :2] - source[:, :, :2]).abs().max() <= CLOSE
    assert (latents.video[:, :, 2] - source[:, :, 2]).abs().max() > CLOSE


@pytest.mark.parametrize(
    ("source_at", "read"), [(-8, slice(8, 20)), (-3, slice(3, 20)), (4, slice(0, 13)), (17, slice(0, 1))]
)
def test_of_a_long_clip_only_the_frames_that_are_rendered_are_halved(source_at: int, read: slice) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (20, 96, 64), dtype=np.uint8)
    clip = ClipCondition(frames, None, Edit(start_frame=9, end_frame=17, source_at=source_at))
    halved = clip.at_half_size(17)
    assert halved.frames.shape == (20, 48, 32)
    assert np.array_equal(halved.frames[read], halve_planes(frames[read]))


@pytest.mark.parametrize("stage", [Stage.DENOISING, Stage.UPSCALING, Stage.REFINING])
def test_a_cancel_acts_in_every_stage_and_leaves_the_next_render_as_it_was(plain: Ltx2Model, stage: Stage) -> None:
    request = upscaled(plain)
    before = plain._render_latents(request, first_frame(None), ignore)
    with pytest.raises(TaskCanceled):
        plain.render(request, first_frame(image_of(1)), canceling_in(stage))
    after = plain._render_latents(request, first_frame(None), ignore)
    assert torch.equal(before.video, after.video)


def canceling_in(stage: Stage) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.stage is stage and (progress.step == 1 or stage is Stage.UPSCALING):
            raise TaskCanceled("canceled")

    return report


def test_the_stages_are_reported_in_order_and_progress_never_falls(plain: Ltx2Model) -> None:
    told: list[Progress] = []
    plain.render(upscaled(plain), first_frame(image_of(1)), told.append)
    assert list(dict.fromkeys(each.stage for each in told)) == [
        Stage.DENOISING,
        Stage.UPSCALING,
        Stage.REFINING,
        Stage.DECODING,
    ]
    fractions = [each.fraction(8, upscaled=True) for each in told]
    assert fractions == sorted(fractions)
    assert [each.step for each in told if each.stage is Stage.REFINING and each.step] == [1, 2, 3]


def test_a_render_has_the_full_size_and_the_length_of_the_request(plain: Ltx2Model) -> None:
    clip = plain.render(upscaled(plain, num_frames=12), first_frame(None), ignore)
    assert clip.frames.shape == (12, SIDE, SIDE, 3)
    assert clip.audio.shape[1] > 0

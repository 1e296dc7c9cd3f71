"""Promise: of a given clip only the window is made anew, and the model sees the rest."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from models.conditions import NO_CONDITIONS, ClipCondition, Conditions
from models.ltx2.encode import encode_clip
from models.ltx2.model import Ltx2Model
from models.progress import Progress, Stage
from models.request.edits import Edit
from models.waveform import Waveform
from models.yuv import rgb_to_planes, to_rgb
from tests.models.conftest import ignore, small
from tests.models.given.conftest import (
    ROUNDING,
    TOKENS_PER_FRAME,
    calls_of,
    latents_of,
    unpacked_audio,
    unpacked_video,
)
from tests.models.optimizations.conftest import distance

RATE_HZ = 16_000
FPS = 25
SOURCE_FRAMES = 33


def planes(count: int = SOURCE_FRAMES, seed: int = 4) -> np.ndarray:
    """Squares of other colors in each frame, as planes of 64x128 pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 16, 3), dtype=np.uint8)
    return rgb_to_planes(coarse.repeat(8, axis=1).repeat(8, axis=2))


def audio(count: int = SOURCE_FRAMES) -> Waveform:
    samples = np.random.default_rng(6).uniform(-0.5, 0.5, (2, count * RATE_HZ // FPS)).astype(np.float32)
    return Waveform(samples, RATE_HZ)


def source(edit: Edit, *, silent: bool = False) -> Conditions:
    return Conditions(clip=ClipCondition(planes(), None if silent else audio(), edit))


def fields(num_frames: int = SOURCE_FRAMES) -> dict[str, object]:
    return {"num_frames": num_frames, "frame_rate": float(FPS)}


def encoded_clip(model: Ltx2Model, given: Conditions, num_frames: int) -> Tensor:
    assert given.clip is not None
    with torch.no_grad():
        return unpacked_video(model, model._conditioned._clip_tokens(given.clip, num_frames, torch.zeros(1)))


def encoded_audio(model: Ltx2Model, waveform: Waveform, num_latents: int) -> Tensor:
    with torch.no_grad():
        return unpacked_audio(model, model._conditioned._audio_tokens(waveform, torch.zeros(1, num_latents, 1)))


def test_a_clip_is_encoded_as_its_frames_are(model: Ltx2Model) -> None:
    """In gray, so that no color is between two pixels."""
    pipe, gray = model._conditioned, planes(9)
    gray[:, 64:] = 128
    rgb = torch.from_numpy(to_rgb(gray)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.no_grad():
        latents = pipe.vae.encode(rgb).latent_dist.mode()
    found = encoded_clip(model, Conditions(clip=ClipCondition(gray, None, Edit(0, 9))), 9)
    assert float((found - latents).abs().mean()) < 0.05 * float(latents.abs().mean())


def test_a_retake_keeps_the_latents_outside_its_window(model: Ltx2Model) -> None:
    given = source(Edit(10, 16))
    found = latents_of(model, given, **fields())
    expected, heard = encoded_clip(model, given, 33), encoded_audio(model, audio(), found.audio.shape[2])
    kept = [0, 1, 3, 4]
    assert torch.equal(found.video[:, :, kept], expected[:, :, kept])
    assert float((found.video[:, :, 2] - expected[:, :, 2]).abs().max()) > ROUNDING
    first, end = 10, 16  # at 25 frames per second a latent of the audio is as long as a frame
    assert torch.equal(found.audio[:, :, :first], heard[:, :, :first])
    assert torch.equal(found.audio[:, :, end:], heard[:, :, end:])
    assert float((found.audio[:, :, first:end] - heard[:, :, first:end]).abs().max()) > ROUNDING


def test_new_audio_is_made_for_the_given_frames(model: Ltx2Model) -> None:
    given = source(Edit(0, 33, replaces_video=False), silent=True)
    with calls_of(model) as calls:
        found = latents_of(model, given, **fields())
    assert torch.equal(found.video, encoded_clip(model, given, 33))
    for call in calls:
        assert not call["timestep"].any()
        assert not call["sigma"].any()
        assert call["audio_timestep"].all()
    plain = latents_of(model, NO_CONDITIONS, **fields())
    assert float((found.audio - plain.audio).abs().max()) > ROUNDING


def test_new_frames_are_made_for_the_given_audio(model: Ltx2Model) -> None:
    given = source(Edit(0, 33, replaces_audio=False))
    with calls_of(model) as calls:
        found = latents_of(model, given, **fields())
    assert torch.equal(found.audio, encoded_audio(model, audio(), found.audio.shape[2]))
    assert not calls[0]["audio_sigma"].any()
    assert calls[0]["timestep"].all()


@pytest.mark.parametrize(
    ("edit", "kept"),
    [(Edit(20, 49), [0, 1, 2]), (Edit(0, 29, source_at=16), [5, 6])],
    ids=["at the end", "at the start"],
)
def test_an_extend_keeps_the_latents_of_the_source(model: Ltx2Model, edit: Edit, kept: list[int]) -> None:
    """The causal encoder sees its first frame repeated where the source is not yet."""
    given = source(edit)
    found = latents_of(model, given, **fields(49))
    assert torch.equal(found.video[:, :, kept], encoded_clip(model, given, 49)[:, :, kept])
    new = [latent for latent in range(7) if latent not in kept]
    assert float((found.video[:, :, new] - encoded_clip(model, given, 49)[:, :, new]).abs().min()) > 0


def test_a_context_bounds_what_is_rendered(model: Ltx2Model) -> None:
    with calls_of(model) as calls:
        latents_of(model, source(Edit(28, 41, context=4)), **fields(41))
    assert calls[0]["hidden_states"].shape[1] == 3 * TOKENS_PER_FRAME  # 17 frames


@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_the_optimizations_work_under_it(model: Ltx2Model, faster: Ltx2Model, quality: str) -> None:
    for edit in (Edit(10, 16), Edit(0, 33, replaces_video=False)):
        found = latents_of(faster, source(edit), **fields(), quality=quality)
        assert distance(found, latents_of(model, source(edit), **fields(), quality=quality)) <= ROUNDING
    faster.close()


def test_outside_the_window_a_retake_is_the_source(model: Ltx2Model) -> None:
    clip = model.render(small(**fields()), source(Edit(10, 16)), ignore)
    assert clip.has_planes
    outside = [*range(10), *range(16, 33)]
    assert np.array_equal(clip.frames[outside], planes()[outside])
    assert not np.array_equal(clip.frames[10:16], planes()[10:16])
    assert clip.audio is not None
    own = audio().resampled(clip.sample_rate_hz).samples
    start, end = (round(Fraction(frame, FPS) * clip.sample_rate_hz) for frame in (10, 16))
    assert clip.audio.shape == own.shape
    assert np.array_equal(clip.audio[:, :start], own[:, :start])
    assert np.array_equal(clip.audio[:, end:], own[:, end:])
    assert not np.array_equal(clip.audio[:, start:end], own[:, start:end])


def test_an_extended_clip_begins_or_ends_with_the_source(model: Ltx2Model) -> None:
    longer = model.render(small(**fields(41)), source(Edit(24, 41)), ignore)
    assert len(longer.frames) == 41
    assert np.array_equal(longer.frames[:24], planes()[:24])
    earlier = model.render(small(**fields(41)), source(Edit(0, 17, source_at=8)), ignore)
    assert np.array_equal(earlier.frames[17:], planes()[9:])


def test_with_a_context_the_result_is_the_whole(model: Ltx2Model) -> None:
    longer = model.render(small(**fields(41)), source(Edit(28, 41, context=4)), ignore)
    assert len(longer.frames) == 41
    assert np.array_equal(longer.frames[:28], planes()[:28])


def test_new_audio_leaves_every_frame(model: Ltx2Model) -> None:
    clip = model.render(small(**fields()), source(Edit(0, 33, replaces_video=False), silent=True), ignore)
    assert np.array_equal(clip.frames, planes())
    assert clip.audio is not None
    assert clip.audio.any()


def test_new_frames_leave_the_audio_as_it_is(model: Ltx2Model) -> None:
    clip = model.render(small(**fields()), source(Edit(0, 33, replaces_audio=False)), ignore)
    assert clip.audio is not None
    assert np.array_equal(clip.audio, audio().samples)
    silent = model.render(small(**fields()), source(Edit(0, 33, replaces_audio=False), silent=True), ignore)
    assert silent.audio is None


def test_a_clip_that_does_not_fit_whole_is_encoded_in_tiles_and_the_next_one_whole(
    model: Ltx2Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of a decode do not reach the encoding either: they are off after each use."""
    wide = rgb_to_planes(np.random.default_rng(5).integers(0, 256, (9, 64, 576, 3), dtype=np.uint8))
    given, vae, sizes = ClipCondition(wide, None, Edit(0, 9)), model._text_to_video.vae, []
    hook = vae.encoder.register_forward_pre_hook(lambda _encoder, args: sizes.append(args[0].shape[-1]))
    with torch.no_grad():
        whole = encode_clip(vae, given, 9, "cpu")
        monkeypatch.setattr("models.ltx2.encode.needs_tiles", lambda _pixels: True)
        tiled = encode_clip(vae, given, 9, "cpu")
    hook.remove()
    assert sizes == [576, 352, 288]
    assert tiled.shape == whole.shape
    assert not vae.use_tiling


def test_the_encoding_is_reported_before_it_begins(model: Ltx2Model) -> None:
    """So a task that was canceled ends there."""
    told: list[object] = []
    hook = model._text_to_video.vae.encoder.register_forward_pre_hook(lambda *_: told.append("encoder"))
    model.render(small(**fields()), source(Edit(10, 16)), told.append)
    hook.remove()
    before, after = told[: told.index("encoder")], told[told.index("encoder") + 1 :]
    assert before[-1] == Progress(Stage.DENOISING, encodes_given=True)
    assert after[0] == Progress(Stage.DENOISING)
    model.render(small(), NO_CONDITIONS, told.append)
    assert told.count(before[-1]) == 1

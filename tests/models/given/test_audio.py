"""Promise: given audio comes back exactly, and the frames are made for it."""

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from models.conditions import NO_CONDITIONS, AudioCondition, Conditions, ImageCondition, first_frame
from models.ltx2.encode import log_mel
from models.ltx2.model import Ltx2Model
from models.request.places import LAST, Place
from models.waveform import Waveform
from tests.models.conftest import ignore, small
from tests.models.given.conftest import (
    ROUNDING,
    TOKENS_PER_FRAME,
    by_conditioned_pipeline,
    calls_of,
    latents_of,
    unpacked_audio,
)
from tests.models.optimizations.conftest import distance
from tests.models.reference import make_image

RATE_HZ = 44_100
GATE = "av_cross_attn_video_a2v_gate"
SCALE_SHIFT = "av_cross_attn_video_scale_shift"


def song(seed: int = 1, channels: int = 2, seconds: float = 2.0) -> Waveform:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, round(seconds * RATE_HZ)))
    return Waveform(samples.astype(np.float32), RATE_HZ)


def given(waveform: Waveform | None = None, strength: float = 1.0, *images: ImageCondition) -> Conditions:
    return Conditions(images, AudioCondition(waveform or song(), strength))


def encoded(model: Ltx2Model, waveform: Waveform, num_latents: int) -> Tensor:
    with torch.no_grad():
        return model._conditioned._audio_tokens(waveform, torch.zeros(1, num_latents, 1))


def test_the_spectrogram_is_that_of_another_implementation() -> None:
    """transformers' own, in numpy: magnitudes, not their squares, in Slaney's bands."""
    wave = np.random.default_rng(2).uniform(-1, 1, 8000)
    bands = mel_filter_bank(513, 64, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    expected = spectrogram(
        wave, window_function(1024, "hann"), 1024, 160, power=1.0, mel_filters=bands, mel_floor=1e-5, log_mel="log"
    )
    found = log_mel(torch.from_numpy(wave).float()[None], 16_000, 160, 64)[0]
    assert found.shape == (51, 64)
    assert np.allclose(found.numpy(), expected.T, atol=1e-3)


def test_given_audio_is_exactly_the_latents_and_conditions_the_frames(model: Ltx2Model) -> None:
    with calls_of(model) as calls:
        found = latents_of(model, given(), num_frames=17)
    tokens = encoded(model, song(), found.audio.shape[2])
    assert torch.equal(found.audio, unpacked_audio(model, tokens))
    for call in calls:
        assert torch.equal(call["audio_hidden_states"][-1:], tokens)
        assert call["audio_timestep"].shape == call["audio_hidden_states"].shape[:2]
        assert not call["audio_timestep"].any()
        assert not call["audio_sigma"].any()
        assert call["sigma"].all()
    plain, other = latents_of(model, NO_CONDITIONS, num_frames=17), latents_of(model, given(song(2)), num_frames=17)
    assert float((found.video - plain.video).abs().max()) > ROUNDING
    assert float((found.video - other.video).abs().max()) > ROUNDING


def test_the_cross_attention_of_the_frames_is_gated_by_audio_without_noise(model: Ltx2Model) -> None:
    """As in the reference: the gate depends on the audio's level, scale and shift on the frames' own."""
    transformer = model._text_to_video.transformer
    seen: dict[str, Tensor] = {}

    def note(layer: str, _module: Any, args: tuple[Tensor, ...]) -> None:
        seen.setdefault(layer, args[0])

    layers = {name: getattr(transformer, name) for name in (GATE, SCALE_SHIFT)}
    hooks = [layer.register_forward_pre_hook(partial(note, name)) for name, layer in layers.items()]
    with calls_of(model) as calls:
        latents_of(model, given(), num_frames=17)
    for hook in hooks:
        hook.remove()
    assert not seen[GATE].any()
    assert torch.equal(seen[SCALE_SHIFT], calls[0]["timestep"].flatten())
    assert seen[SCALE_SHIFT].all()


def test_the_strength_scales_the_timestep_and_acts(model: Ltx2Model) -> None:
    whole = latents_of(model, given(), num_frames=17)
    with calls_of(model) as calls:
        half = latents_of(model, given(strength=0.5), num_frames=17)
    for call in calls:
        assert torch.allclose(
            call["audio_timestep"], (call["audio_sigma"] / 2)[:, None].expand_as(call["audio_timestep"])
        )
        assert call["audio_sigma"].all()
    assert distance(half, whole) > ROUNDING


def test_no_strength_is_as_if_nothing_were_given(model: Ltx2Model) -> None:
    unused = by_conditioned_pipeline(model, given(strength=0.0), num_frames=17)
    assert distance(unused, by_conditioned_pipeline(model, NO_CONDITIONS, num_frames=17)) == 0


def test_images_beside_it_are_kept_too(model: Ltx2Model) -> None:
    images = (ImageCondition(make_image()), ImageCondition(make_image(), Place(LAST, 0.5)))
    with calls_of(model) as calls:
        found = latents_of(model, given(song(), 1.0, *images), num_frames=17)
    assert torch.equal(found.audio, unpacked_audio(model, encoded(model, song(), found.audio.shape[2])))
    assert not calls[0]["timestep"][:, :TOKENS_PER_FRAME].any()
    assert calls[0]["timestep"].shape[1] == 4 * TOKENS_PER_FRAME


@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_the_optimizations_work_under_it(model: Ltx2Model, faster: Ltx2Model, quality: str) -> None:
    fields: dict[str, Any] = {"num_frames": 17, "quality": quality}
    for strength in (1.0, 0.5):
        found = latents_of(faster, given(strength=strength), **fields)
        assert distance(found, latents_of(model, given(strength=strength), **fields)) <= ROUNDING
    faster.close()


def test_it_changes_no_later_task(model: Ltx2Model) -> None:
    text, image = latents_of(model, NO_CONDITIONS), latents_of(model, first_frame(make_image()))
    first = latents_of(model, given())
    assert distance(latents_of(model, NO_CONDITIONS), text) == 0
    assert distance(latents_of(model, first_frame(make_image())), image) == 0
    assert distance(latents_of(model, given()), first) == 0


@pytest.mark.parametrize("channels", [1, 2])
def test_the_clip_has_the_audio_itself(model: Ltx2Model, channels: int) -> None:
    """At its own rate, as long as the video; with silence where it ends earlier."""
    wave = song(channels=channels, seconds=0.5)
    clip = model.render(small(num_frames=20, frame_rate=25.0), given(wave), ignore)
    assert clip.audio is not None
    assert clip.sample_rate_hz == RATE_HZ
    assert clip.audio.shape == (channels, round(Fraction(20, 25) * RATE_HZ))
    count = wave.samples.shape[1]
    assert np.array_equal(clip.audio[:, :count], wave.samples)
    assert not clip.audio[:, count:].any()


def test_without_audio_in_the_clip_it_conditions_the_frames_only(model: Ltx2Model) -> None:
    silent = model.render(small(generate_audio=False), given(), ignore)
    assert silent.audio is None
    assert np.array_equal(silent.frames, model.render(small(), given(), ignore).frames)


def test_the_audio_decides_the_length(model: Ltx2Model) -> None:
    """A model that could choose the length does not."""
    assert len(model.render(small(num_frames=12, length="auto"), given(), ignore).frames) == 12

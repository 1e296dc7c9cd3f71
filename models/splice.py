"""Puts a source's own frames and audio back where an edit did not make them anew. Does not import torch.

A render decodes all of its frames from latents, so even given ones come back changed. What the client gave replaces
them outside the window, with a cross-fade within it.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from models.clip import Clip
from models.conditions import ClipCondition, Conditions
from models.request.request import VideoRequest
from models.waveform import Samples, Waveform
from models.yuv import PLANES_NDIM, Bytes, rgb_to_planes

FADE_FRAMES = 4
"""Frames at each end of the window over which the source turns into what was made."""
FADE_S = Fraction(1, 25)
"""The same for audio: 40 ms, which hides a jump and is too short to hear two sounds."""

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Made:
    """Frames and audio of the rendered part, as in Clip. None for what was not made."""

    frames: Bytes | None
    audio: Samples | None
    sample_rate_hz: int


def finish_clip(made: Made, conditions: Conditions, request: VideoRequest) -> Clip:
    """The clip of a request: what was made, with given audio and the source's own part in place."""
    frames = made.frames
    if conditions.clip is not None:
        frames = splice_frames(None if frames is None else _as_planes(frames), conditions.clip, request.num_frames)
    assert frames is not None  # noqa: S101  # all else has frames of the model
    audio = _choose_audio(made, conditions, request) if request.generate_audio else None
    if audio is None:
        return Clip(frames, None, made.sample_rate_hz, request.exact_frame_rate)
    return Clip(frames, audio.samples, audio.sample_rate_hz, request.exact_frame_rate)


def _choose_audio(made: Made, conditions: Conditions, request: VideoRequest) -> Waveform | None:
    own = None if made.audio is None else Waveform(made.audio, made.sample_rate_hz)
    if conditions.clip is not None:
        return splice_audio(own, conditions.clip, request.num_frames, request.exact_frame_rate)
    if conditions.audio is None or conditions.makes_audio:
        return own
    return conditions.audio.waveform.placed(Fraction(0), request.num_frames / request.exact_frame_rate)


def splice_frames(made: Bytes | None, given: ClipCondition, num_frames: int) -> Bytes:
    """The result's planes (num_frames, H * 3 / 2, W): those `made` for its window, else the source's.

    `made` are the planes of `given.edit.rendered(num_frames)`. None leaves the source's frames as they are. Where the
    source has no frame, its first or last one is repeated, as the model saw it.
    """
    edit, source = given.edit, given.frames
    first = edit.rendered(num_frames).start
    spliced = source[np.clip(np.arange(num_frames) - edit.source_at, 0, len(source) - 1)]
    if made is None:
        return spliced
    weights = _frame_weights(given, num_frames)
    for frame in range(edit.start_frame, min(edit.end_frame, num_frames)):
        weight, new = weights[frame], made[frame - first]
        if weight == 1:
            spliced[frame] = new
        else:
            spliced[frame] = np.rint(spliced[frame] * (1 - weight) + new * weight).astype(np.uint8)
    return spliced


def _as_planes(frames: Bytes) -> Bytes:
    return frames if frames.ndim == PLANES_NDIM + 1 else rgb_to_planes(frames)


def _frame_weights(given: ClipCondition, num_frames: int) -> Weights:
    """How much of what was made is in each frame of the result. Where the source has no frame, all."""
    edit = given.edit
    weights = _window(num_frames, edit.start_frame, edit.end_frame, FADE_FRAMES)
    weights[: max(0, edit.source_at)] = 1
    weights[edit.source_at + len(given.frames) :] = 1
    return weights


def splice_audio(made: Waveform | None, given: ClipCondition, num_frames: int, frame_rate: Fraction) -> Waveform | None:
    """The result's audio: that which was `made` in the window, else the source's, which is silent without audio.

    `made` is the audio of `given.edit.rendered(num_frames)`; None leaves the source's audio as it is, if there is one.
    """
    edit, duration_s = given.edit, num_frames / frame_rate
    if made is None:
        return None if given.audio is None else given.audio.placed(edit.source_at / frame_rate, duration_s)
    rate = max(made.sample_rate_hz, 0 if given.audio is None else given.audio.sample_rate_hz)
    first = edit.rendered(num_frames).start
    new = made.resampled(rate).stereo().placed(first / frame_rate, duration_s).samples
    old = np.zeros_like(new)
    if given.audio is not None:
        old = given.audio.resampled(rate).stereo().placed(edit.source_at / frame_rate, duration_s).samples
    start, end = (round(frame / frame_rate * rate) for frame in (edit.start_frame, edit.end_frame))
    weights = _window(new.shape[1], start, end, round(FADE_S * rate))
    mixed: Samples = old * (1 - weights) + new * weights
    return Waveform(mixed, rate)


def _window(length: int, start: int, end: int, fade: int) -> Weights:
    """1 from `start` to `end` and 0 elsewhere, with a linear fade within the window. None where it meets an end."""
    weights = np.zeros(length, np.float32)
    inside = np.arange(min(end, length) - start, dtype=np.float32)
    fade = max(1, min(fade, len(inside) // 2))
    rising = (inside + 1) / (fade + 1) if start > 0 else np.ones_like(inside)
    falling = (len(inside) - inside) / (fade + 1) if end < length else np.ones_like(inside)
    weights[start : start + len(inside)] = np.minimum(np.minimum(rising, falling), 1)
    return weights

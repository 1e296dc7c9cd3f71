"""Which part of a given video is made anew: by a retake, by an extend, or all of it by video-to-video.

Frames are those of the result: what the client gets. Does not import torch.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from models.errors import InvalidRequest
from models.request.request import FRAMES_PER_LATENT, VideoRequest, spell_seconds

FEATHER_S = Fraction(1, 2)
"""How much of the source an extend makes anew at the seam, so that the motion goes on. Source: LTX-Desktop."""
START_TIME, DURATION, CONTEXT, MODE = "start_time", "duration", "context", "mode"
"""The fields of a retake and of an extend."""
VIDEO_STRENGTH = "video_strength"
"""The field of video-to-video."""
DEFAULT_STRENGTH = 0.6
"""How much of a video stays by default. A distilled model then runs 3 of its 8 steps, from the noise level at which
Lightricks' pipelines start their second stage."""


class RetakeMode(StrEnum):
    """What a retake makes anew within its window."""

    AUDIO_AND_VIDEO = "replace_audio_and_video"
    """Frames and audio."""
    VIDEO = "replace_video"
    """The frames. The audio of the source stays, and the new frames follow it."""
    AUDIO = "replace_audio"
    """The audio. The frames of the source stay, and the new audio follows them."""


class V2vMode(StrEnum):
    """What video-to-video makes anew."""

    VIDEO = "replace_video"
    """The frames. The audio of the source stays, and the new frames follow it."""
    AUDIO_AND_VIDEO = "replace_audio_and_video"
    """Frames and audio, both from those of the source."""


class ExtendMode(StrEnum):
    """At which end an extend adds to the source."""

    END = "end"
    """After its last frame."""
    START = "start"
    """Before its first frame."""


@dataclass(frozen=True)
class Edit:
    """Frames from `start_frame` up to, not including, `end_frame` of the result are made anew. The others are given.

    `source_at` is the frame of the result at which the source begins. `context` bounds how many of the source's frames
    the model sees on each side of the window; with None it sees them all. What it does not see is not rendered.
    `strength` is how much of the source stays in what is made anew, from 0 (nothing) to 1 (all).
    """

    start_frame: int
    end_frame: int
    replaces_video: bool = True
    replaces_audio: bool = True
    source_at: int = 0
    context: int | None = None
    strength: float = 0.0

    @property
    def starts_from_source(self) -> bool:
        """Whether what is made anew starts from the source's latents, and not from noise alone."""
        return 0 < self.strength < 1

    @property
    def keeps_frames(self) -> bool:
        """Whether all latents of the frames are given."""
        return not self.replaces_video or self.strength == 1

    @property
    def keeps_audio(self) -> bool:
        """Whether all latents of the audio are given."""
        return not self.replaces_audio or self.strength == 1

    def count_steps(self, num_inference_steps: int) -> int:
        """How many of the steps are run, the last ones: the fewer, the more of the source stays. At least one.

        If any of the source stays, at least the first step is left out: it starts from noise alone.
        """
        if self.strength == 0:
            return num_inference_steps
        return max(1, min(round((1 - self.strength) * num_inference_steps), num_inference_steps - 1))

    def with_steps_run(self, request: VideoRequest) -> VideoRequest:
        """The request with the number of steps that are run."""
        return request.model_copy(update={"num_inference_steps": self.count_steps(request.num_inference_steps)})

    def rendered(self, num_frames: int) -> range:
        """The frames of a result of `num_frames` frames that the model renders, so that it sees the context."""
        if self.context is None:
            return range(num_frames)
        return range(max(0, self.start_frame - self.context), min(num_frames, self.end_frame + self.context))

    def within(self, span: range) -> "Edit":
        """The same edit, in a render of the frames `span` of the result. The source may then begin before it."""
        first = span.start
        start, end = self.start_frame - first, self.end_frame - first
        return replace(self, start_frame=start, end_frame=end, source_at=self.source_at - first, context=None)

    def rendered_request(self, request: VideoRequest) -> VideoRequest:
        """The request that the model renders: that of the result, as long as the window with its context."""
        return request.model_copy(update={"num_frames": len(self.rendered(request.num_frames))})


def retake(  # the fields of the request
    num_frames: int,
    frame_rate: Fraction,
    start_time_s: float = 0.0,
    duration_s: float | None = None,
    *,
    mode: RetakeMode = RetakeMode.AUDIO_AND_VIDEO,
    context_s: float | None = None,
) -> Edit:
    """Make `duration_s` seconds of a source anew, from `start_time_s` on. None means up to its end.

    A window that ends at most one frame after the source ends with it. Raises InvalidRequest for a window outside the
    source, and for one without a frame.
    """
    start = _frames(start_time_s, frame_rate)
    if not 0 <= start < num_frames:
        last_s = spell_seconds((num_frames - 1) / frame_rate)
        raise InvalidRequest(START_TIME, start_time_s, f"a number of seconds from 0 to {last_s}, within the video")
    count = num_frames - start if duration_s is None else _frames(duration_s, frame_rate)
    if not 1 <= count <= num_frames - start + 1:
        first_s, most_s = spell_seconds(1 / frame_rate, up=True), spell_seconds((num_frames - start) / frame_rate)
        allowed = f"a number of seconds from {first_s} to {most_s}, where the video ends"
        raise InvalidRequest(DURATION, duration_s, allowed)
    return Edit(
        start,
        min(start + count, num_frames),
        replaces_video=mode is not RetakeMode.AUDIO,
        replaces_audio=mode is not RetakeMode.VIDEO,
        context=_context(context_s, frame_rate),
    )


def video_to_video(num_frames: int, strength: float = DEFAULT_STRENGTH, mode: V2vMode = V2vMode.VIDEO) -> Edit:
    """Make all of a source anew, with as much of it as `strength` says: 0 keeps nothing, 1 keeps it as it is."""
    return Edit(0, num_frames, replaces_audio=mode is V2vMode.AUDIO_AND_VIDEO, strength=strength)


def extend(
    source_frames: int,
    frame_rate: Fraction,
    duration_s: float,
    mode: ExtendMode = ExtendMode.END,
    context_s: float | None = None,
) -> tuple[Edit, int]:
    """Add `duration_s` seconds to a source of `source_frames` frames. Returns the edit and the result's frames.

    The feather at the seam is part of the window; at least one frame of the source is given. Raises InvalidRequest for
    a duration without a frame, and for a context that is not longer than the feather. The caller checks whether the
    result is too long.
    """
    added = _frames(duration_s, frame_rate)
    if added < 1:
        first_s = spell_seconds(1 / frame_rate, up=True)
        raise InvalidRequest(DURATION, duration_s, f"a number of seconds of new video, at least {first_s}")
    feather = min(round(FEATHER_S * frame_rate), source_frames - 1)
    context = _context(context_s, frame_rate)
    if context is not None:
        if context <= feather:
            raise InvalidRequest(
                CONTEXT, context_s, f"more than {spell_seconds(feather / frame_rate)} s, the seam's length"
            )
        context -= feather
    total = source_frames + added
    if mode is ExtendMode.START:
        return Edit(0, added + feather, source_at=added, context=context), total
    return Edit(source_frames - feather, total, context=context), total


def _context(context_s: float | None, frame_rate: Fraction) -> int | None:
    """Seconds as frames: at least those of one latent."""
    if context_s is None:
        return None
    count = _frames(context_s, frame_rate)
    if count < FRAMES_PER_LATENT:
        least_s = spell_seconds(FRAMES_PER_LATENT / frame_rate, up=True)
        raise InvalidRequest(CONTEXT, context_s, f"a number of seconds, at least {least_s}")
    return count


def _frames(seconds: float, frame_rate: Fraction) -> int:
    """The nearest frame. -1 for what is no time."""
    return round(Fraction(seconds) * frame_rate) if math.isfinite(seconds) and seconds >= 0 else -1

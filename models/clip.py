"""A clip: the frames and the audio of one task in memory, from the model to the encoder."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from models.request.request import RequestLimits
from models.timing import Timings
from models.yuv import PLANES_NDIM

MAX_AUDIO_BYTES_PER_S = 2 * 48_000 * 4
"""Two channels of float32 at the highest sample rate of all vocoders."""


@dataclass(frozen=True)
class Clip:
    """The result of a render. Passed between processes without a copy, so its arrays may be read-only.

    `frames` is uint8: RGB (T, H, W, 3), or YUV 4:2:0 planes (T, H * 3 / 2, W), see models/yuv.py. `audio` is float32
    (channels, samples) in [-1, 1] at `sample_rate_hz`. It may be shorter or longer than the video; the Encoder pads or
    cuts it. None for a video without audio. `timings` are the durations of the render's stages.
    """

    frames: npt.NDArray[np.uint8]
    audio: npt.NDArray[np.float32] | None
    sample_rate_hz: int
    frame_rate: Fraction
    timings: Timings = field(default_factory=Timings)

    @property
    def has_planes(self) -> bool:
        """Whether `frames` holds YUV planes instead of RGB."""
        return self.frames.ndim == PLANES_NDIM + 1

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        rows = int(self.frames.shape[1])
        return rows * 2 // 3 if self.has_planes else rows

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return int(self.frames.shape[2])

    @property
    def size_bytes(self) -> int:
        """Size of the frames and the audio in memory."""
        return self.frames.nbytes + (0 if self.audio is None else self.audio.nbytes)


def largest_clip_bytes(limits: RequestLimits) -> int:
    """Size in memory of the largest clip that the limits allow, as a GPU makes it: 1.5 bytes per pixel.

    RGB, which the tiny model makes, takes twice that.
    """
    pixels = min(limits.max_total_pixels, limits.max_side_px**2 * limits.max_frames)
    return 3 * pixels // 2 + math.ceil(limits.max_duration_s * MAX_AUDIO_BYTES_PER_S)

"""A clip: the frames and the sound of one task, in memory, between the model and the file."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from models.request.request import RequestLimits
from models.timing.stages import Timings
from models.yuv import PLANES_NDIM

MAX_AUDIO_BYTES_PER_S = 2 * 48_000 * 4
"""Two channels of float32 at the highest rate of all vocoders."""


@dataclass(frozen=True)
class Clip:
    """What a render makes. Travels between processes without a copy, so its arrays may be read-only.

    `frames` is uint8: RGB (T, H, W, 3), or planes of YUV 4:2:0 (T, H * 3 / 2, W), see models/yuv. `sound` is float32
    (channels, samples) in [-1, 1] at `sample_rate_hz`; it may be shorter or longer than the picture, the encoder pads
    or cuts it. `timings` say what making it took.
    """

    frames: npt.NDArray[np.uint8]
    audio: npt.NDArray[np.float32]
    sample_rate_hz: int
    frame_rate: Fraction
    timings: Timings = field(default_factory=Timings)

    @property
    def has_planes(self) -> bool:
        """Whether `frames` is planes of YUV, and not RGB."""
        return self.frames.ndim == PLANES_NDIM + 1

    @property
    def height(self) -> int:
        """Of a frame, in pixels."""
        rows = int(self.frames.shape[1])
        return rows * 2 // 3 if self.has_planes else rows

    @property
    def width(self) -> int:
        """Of a frame, in pixels."""
        return int(self.frames.shape[2])

    @property
    def size_bytes(self) -> int:
        """What the clip occupies in memory."""
        return self.frames.nbytes + self.audio.nbytes


def largest_clip_bytes(limits: RequestLimits) -> int:
    """What the largest clip occupies that a client may ask for."""
    pixels = min(limits.max_total_pixels, limits.max_side_px**2 * limits.max_frames)
    return 3 * pixels + math.ceil(limits.max_duration_s * MAX_AUDIO_BYTES_PER_S)

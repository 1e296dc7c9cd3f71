"""A clip: the frames and the sound of one task, in memory, between the model and the file."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from models.request import Limits
from models.stopwatch import Timings

MOST_SOUND_BYTES_PER_S = 2 * 48_000 * 4
"""Two channels of float32 at the highest rate of all vocoders."""


@dataclass(frozen=True)
class Clip:
    """What a render makes. Travels between processes without a copy, so its arrays may be read-only.

    `frames` is uint8 (T, H, W, 3) RGB. `sound` is float32 (channels, samples) in [-1, 1] at `sample_rate_hz`; it
    may be shorter or longer than the picture, the encoder pads or cuts it. `timings` say what making it took.
    """

    frames: npt.NDArray[np.uint8]
    sound: npt.NDArray[np.float32]
    sample_rate_hz: int
    frame_rate: Fraction
    timings: Timings = field(default_factory=Timings)

    @property
    def size_bytes(self) -> int:
        """What the clip occupies in memory."""
        return self.frames.nbytes + self.sound.nbytes


def largest_clip_bytes(limits: Limits) -> int:
    """What the largest clip occupies that a client may ask for."""
    pixels = min(limits.max_pixel_frames, limits.max_side**2 * limits.max_frames)
    return 3 * pixels + math.ceil(limits.max_duration_s * MOST_SOUND_BYTES_PER_S)

"""Rate control: the H.264 level, and the settings to try until a file is small enough."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

CRF = 18
"""Visually lossless with x264. A stricter size cap or level lowers the quality."""
MAX_CRF = 51
CRF_STEP = 6
"""About six steps of CRF halve the bit rate."""
AUDIO_BIT_RATE = 128_000
MIN_AUDIO_BIT_RATE = 32_000
MIN_BIT_RATE = 1_000
BUFFER_S = 1.0
"""Length of x264's rate buffer, in seconds. The rate may exceed the maximum within it."""
CONTAINER_BYTES = 4_096
CONTAINER_BYTES_PER_FRAME = 24
"""Bytes for `moov`: a fixed part, and a part per frame (its size entry, its share of chunk and audio entries)."""
MARGIN = 0.97


class Level(NamedTuple):
    """A row of table A-1 of the H.264 standard. `max_bit_rate` (bit/s) is the limit that we set for Main profile."""

    name: str
    max_macroblocks_per_s: int
    max_macroblocks: int
    max_bit_rate: int


LEVELS = (
    Level("3.0", 40_500, 1_620, 10_000_000),
    Level("3.1", 108_000, 3_600, 14_000_000),
    Level("3.2", 216_000, 5_120, 20_000_000),
    Level("4.0", 245_760, 8_192, 20_000_000),
    Level("4.2", 522_240, 8_704, 50_000_000),
    Level("5.0", 589_824, 22_080, 50_000_000),
    Level("5.1", 983_040, 36_864, 50_000_000),
    Level("5.2", 2_073_600, 36_864, 50_000_000),
)
"""The lowest level plays on every phone. Above 4.2 the standard allows higher bit rates than phones decode easily."""


@dataclass(frozen=True)
class EncodeParams:
    """Codec settings for one try. Rates are in bits per second."""

    level: str
    crf: int
    max_bit_rate: int
    audio_bit_rate: int = AUDIO_BIT_RATE

    @property
    def buffer_bits(self) -> int:
        """The size of x264's rate buffer, in bits."""
        return round(self.max_bit_rate * BUFFER_S)


def lowest_level(width: int, height: int, frame_rate: Fraction) -> Level:
    """The lowest level that allows this frame size and rate; the highest level in LEVELS when none does."""
    across, down = -(-width // 16), -(-height // 16)
    for level in LEVELS:
        longest = 8 * level.max_macroblocks
        if (
            across * down <= level.max_macroblocks
            and across * down * frame_rate <= level.max_macroblocks_per_s
            and max(across, down) ** 2 <= longest
        ):
            return level
    return LEVELS[-1]


def initial_params(
    level: Level, num_frames: int, duration_s: float, max_bytes: int | None, *, has_audio: bool = True
) -> EncodeParams:
    """The best settings that the level and the size cap allow. Without audio, the video gets the audio's bits too."""
    settings = EncodeParams(level.name, CRF, level.max_bit_rate, AUDIO_BIT_RATE if has_audio else 0)
    if max_bytes is None:
        return settings
    container_bytes = CONTAINER_BYTES + CONTAINER_BYTES_PER_FRAME * num_frames
    room_bits = (max_bytes - container_bytes) * 8 - settings.audio_bit_rate * duration_s
    return _with_bit_rate(settings, MARGIN * room_bits / (duration_s + BUFFER_S))


def reduced_params(settings: EncodeParams, size_bytes: int, max_bytes: int) -> EncodeParams:
    """The settings to try after `settings` gave a file of `size_bytes`, which is over `max_bytes`."""
    settings = replace(settings, crf=min(settings.crf + CRF_STEP, MAX_CRF))
    return _with_bit_rate(settings, settings.max_bit_rate * MARGIN**2 * max_bytes / size_bytes)


def minimum_params(settings: EncodeParams) -> EncodeParams:
    """The settings for the smallest file that the codecs can make."""
    audio_bit_rate = min(settings.audio_bit_rate, MIN_AUDIO_BIT_RATE)
    return replace(settings, crf=MAX_CRF, max_bit_rate=MIN_BIT_RATE, audio_bit_rate=audio_bit_rate)


def _with_bit_rate(settings: EncodeParams, bit_rate: float) -> EncodeParams:
    return replace(settings, max_bit_rate=min(settings.max_bit_rate, max(MIN_BIT_RATE, int(bit_rate))))

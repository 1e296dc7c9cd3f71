"""Audio in memory, and how it is resampled, shifted in time and brought to two channels. Uses PyAV; no torch."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

Samples = npt.NDArray[np.float32]
"""Float32 (channels, samples) in [-1, 1]."""
STEREO = 2


@dataclass(frozen=True)
class Waveform:
    """Mono or stereo audio: float32 (channels, samples) in [-1, 1]."""

    samples: Samples
    sample_rate_hz: int

    def resampled(self, sample_rate_hz: int) -> "Waveform":
        """The same audio at another rate."""
        return Waveform(resample(self.samples, self.sample_rate_hz, sample_rate_hz), sample_rate_hz)

    def stereo(self) -> "Waveform":
        """With two channels: mono is doubled."""
        if len(self.samples) == STEREO:
            return self
        return Waveform(np.repeat(self.samples[:1], STEREO, axis=0), self.sample_rate_hz)

    def placed(self, start_s: Fraction, duration_s: Fraction) -> "Waveform":
        """Audio of `duration_s` seconds in which this one begins at `start_s`, and silence else.

        With a negative `start_s`, its beginning is cut off.
        """
        length = round(duration_s * self.sample_rate_hz)
        placed = np.zeros((len(self.samples), length), np.float32)
        start = round(start_s * self.sample_rate_hz)
        own = self.samples[:, max(0, -start) :]
        target = placed[:, max(0, start) :]
        count = min(own.shape[1], target.shape[1])
        target[:, :count] = own[:, :count]
        return Waveform(placed, self.sample_rate_hz)


def layout(samples: Samples) -> str:
    """The channel layout of `samples`, in FFmpeg's terms."""
    return "mono" if len(samples) == 1 else "stereo"


def audio_frame(samples: Samples, sample_rate_hz: int) -> "AudioFrame":
    """Wrap `samples` as one planar float frame with timestamp 0."""
    from av.audio.frame import AudioFrame

    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout(samples))
    frame.sample_rate, frame.time_base, frame.pts = sample_rate_hz, Fraction(1, sample_rate_hz), 0
    return frame


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Resample audio of one or two channels."""
    from av.audio.resampler import AudioResampler

    if from_hz == to_hz or not samples.size:
        return samples
    resampler = AudioResampler(format="fltp", layout=layout(samples), rate=to_hz)
    frames = [*resampler.resample(audio_frame(samples, from_hz)), *resampler.resample(None)]
    blocks = [each.to_ndarray() for each in frames if each is not None]
    return np.concatenate(blocks, axis=1, dtype=np.float32) if blocks else samples[:, :0]

"""Finds the rate and the length of a video from the times of its packets, without decoding it."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from models.request.request import VideoRequest

STANDARD_RATES = (23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 50.0, 59.94, 60.0)
STEADY = Fraction(1, 200)
"""A rate that is this near to a standard one is meant to be it. Times in milliseconds are as far from it."""
UNSTEADY = Fraction(1, 20)
"""The same for a rate that varies, as that of a phone in low light."""


@dataclass(frozen=True)
class Timing:
    """When the first frame is shown, in seconds, the rate before and after, and the number of frames after."""

    start_s: Fraction
    source_rate: float
    frame_rate: float
    num_frames: int

    def frame_at(self, time_s: Fraction) -> int:
        """The frame of the clip at which a frame of the source is shown first."""
        return round((time_s - self.start_s) * exact(self.frame_rate))


def measure(times: Iterable[Fraction], least_rate: float, most_rate: float) -> Timing | None:
    """The timing of frames that are shown at `times`, in any order. None without any frame."""
    shown = sorted(set(times))
    if not shown:
        return None
    if len(shown) == 1:
        return Timing(shown[0], 25.0, min(max(25.0, least_rate), most_rate), 1)
    mean = Fraction(len(shown) - 1) / (shown[-1] - shown[0])
    rate = source_rate = _named(mean, shown)
    while rate > most_rate:
        rate /= 2
    rate = max(rate, least_rate)
    return Timing(shown[0], source_rate, rate, round((shown[-1] - shown[0] + 1 / mean) * exact(rate)) or 1)


def exact(rate: float) -> Fraction:
    """The rate as the model has it: 29.97 is 30000/1001."""
    return VideoRequest.model_construct(frame_rate=rate).exact_frame_rate


def _named(mean: Fraction, times: list[Fraction]) -> float:
    """The mean rate, as a standard one where it is meant."""
    gaps = [after - before for before, after in itertools.pairwise(times)]
    is_steady = max(gaps) - min(gaps) <= Fraction(2, 1000)
    nearest = min(STANDARD_RATES, key=lambda each: abs(exact(each) - mean))
    within = STEADY if is_steady else UNSTEADY
    return nearest if abs(exact(nearest) - mean) <= within * mean else round(float(mean), 3)

"""Previews of a video while it is denoised: what one is, and when the next one may be made. No torch here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

COUNT = 5
"""Previews of one task, at equal distances."""
MAX_FRACTION = 0.02
"""The part of a task's time that its previews may take."""
UNLIMITED = 1.0


class PreviewMode(StrEnum):
    """What is shown of a video while it is denoised."""

    OFF = "off"
    """Nothing."""
    FRAME = "frame"
    """One frame, decoded by the VAE."""


@dataclass(frozen=True)
class Preview:
    """A frame of an unfinished video after `step` steps: RGB uint8 (H, W, 3). `seconds` is what it took to make."""

    frame: npt.NDArray[np.uint8]
    step: int
    seconds: float


@dataclass(frozen=True)
class PreviewOptions:
    """What becomes of the previews of a render, and which part of its time they may take. 1 is no limit.

    `failed` is called with the error that ends the previews of this render.
    """

    show: Callable[[Preview], None]
    failed: Callable[[Exception], None]
    max_fraction: float = MAX_FRACTION


class PreviewCost:
    """What a preview takes on this process, in seconds per pixel that is decoded. Kept over all renders."""

    def __init__(self) -> None:
        self._warmed_up = False
        self._seconds_per_pixel: float | None = None

    def record(self, pixels: int, seconds: float) -> None:
        """Record one preview. The first of a process is left out: it also loads the kernels.

        The least counts, so that one slow measurement does not end all previews.
        """
        if not self._warmed_up:
            self._warmed_up = True
            return
        measured = seconds / pixels
        self._seconds_per_pixel = min(measured, self._seconds_per_pixel or measured)

    def estimate_s(self, pixels: int) -> float:
        """The seconds that a preview takes; 0 until one was measured."""
        return pixels * (self._seconds_per_pixel or 0.0)


class PreviewBudget:
    """Decides after which steps of one render a preview is made. `pixels` are those that a preview decodes.

    A preview is paid for by the time that the render has taken until then. One that is too expensive waits for a later
    step, and is left out if the next one is due before.
    """

    def __init__(
        self,
        num_steps: int,
        pixels: int,
        max_fraction: float,
        cost: PreviewCost,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = preview_steps(num_steps)
        self._pixels = pixels
        self._max_fraction = max_fraction
        self._cost = cost
        self._clock = clock
        self._began_at = clock()
        self._spent_s = 0.0
        self._done = 0
        """How many of the planned previews are made or left out."""

    def is_due(self, step: int) -> bool:
        """Whether a preview is made now that `step` steps are done."""
        planned = sum(each <= step for each in self._steps)
        if planned <= self._done or not self._is_paid_for():
            return False
        self._done = planned
        return True

    def record(self, seconds: float) -> None:
        """Record what a preview took."""
        self._spent_s += seconds
        self._cost.record(self._pixels, seconds)

    def _is_paid_for(self) -> bool:
        if self._max_fraction >= UNLIMITED:
            return True
        elapsed_s = self._clock() - self._began_at
        return self._spent_s + self._cost.estimate_s(self._pixels) <= self._max_fraction * elapsed_s


def preview_steps(num_steps: int) -> tuple[int, ...]:
    """The steps after which a preview is planned. Not after the last one: the video itself follows."""
    steps = {max(1, -(-num_steps * (2 * number + 1) // (2 * COUNT))) for number in range(COUNT)}
    return tuple(sorted(step for step in steps if step < num_steps))

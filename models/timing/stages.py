"""Where the time of a run goes: the laps between the reports of a render."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.progress import Progress, Stage


class TimedStage(StrEnum):
    """What the time of a task is spent on, in order."""

    CLAIM = "claim"
    """In the queue, until a Dispatcher first takes it."""
    DOWNLOAD = "download"
    """The weights come from the hub."""
    LOAD = "load"
    """The weights come into memory."""
    ENCODE_TEXT = "encode_text"
    """The prompt becomes embeddings."""
    DENOISE = "denoise"
    """All denoising steps."""
    WAIT_FOR_ENCODER = "wait_for_encoder"
    """The GPU waits because too many clips wait for an Encoder."""
    DECODE = "decode"
    """Latents become frames and sound."""
    ENCODE = "encode"
    """The clip becomes an MP4 and a poster."""
    STORE = "store"
    """The files go to the output store."""


@dataclass(frozen=True)
class Timings:
    """What a run took: seconds in each lap that it went through, and the denoising steps in it.

    `cold_start` is the time line of the replica, where this run waited for its model (`models/timing/cold_start.py`).
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    cold_start: Mapping[str, float] = field(default_factory=dict)


def _ignore(_lap: TimedStage, _seconds: float) -> None:
    pass


class StageTimer:
    """Adds up the seconds of each lap of one run, and tells each as it ends. `clock` gives seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, tell: Callable[[TimedStage, float], None] = _ignore
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._seconds: dict[str, float] = {}
        self._steps = 0
        self._lap: TimedStage | None = None
        self._began_at = clock()

    def start_stage(self, lap: TimedStage | None) -> None:
        """End the lap at hand and begin `lap`, or none."""
        now = self._clock()
        if self._lap is not None:
            self._seconds[self._lap] = self._seconds.get(self._lap, 0.0) + now - self._began_at
            self._tell(self._lap, now - self._began_at)
        self._lap, self._began_at = lap, now

    def observe(self, progress: Progress) -> None:
        """Note a report. The first of denoising begins with the text; each later one says that steps are made."""
        lap = TIMED_STAGES[progress.stage]
        self._steps = max(self._steps, progress.step if progress.stage is Stage.DENOISING else 0)
        if progress.stage is Stage.DENOISING and self._lap not in (TimedStage.ENCODE_TEXT, TimedStage.DENOISE):
            lap = TimedStage.ENCODE_TEXT
        if lap is not self._lap:
            self.start_stage(lap)

    @property
    def timings(self) -> Timings:
        """What the laps that have ended took."""
        return Timings(dict(self._seconds), self._steps)


TIMED_STAGES: dict[Stage, TimedStage | None] = {
    Stage.STARTING: None,
    Stage.DOWNLOADING: TimedStage.DOWNLOAD,
    Stage.LOADING: TimedStage.LOAD,
    Stage.DENOISING: TimedStage.DENOISE,
    Stage.DECODING: TimedStage.DECODE,
    Stage.ENCODING: None,
}
"""The lap that a report of each stage begins."""

"""Measures the duration of a task's stages, from the progress reports of a render."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.progress import Progress, Stage


class TimedStage(StrEnum):
    """The timed stages of a task, in order."""

    CLAIM = "claim"
    """In the queue, until a Dispatcher first claims the task."""
    DOWNLOAD = "download"
    """The weights are downloaded from the hub."""
    LOAD = "load"
    """The weights are loaded into memory."""
    ENCODE_TEXT = "encode_text"
    """The prompt is encoded into embeddings."""
    DENOISE = "denoise"
    """All denoising steps."""
    WAIT_FOR_ENCODER = "wait_for_encoder"
    """The GPU is blocked because too many clips wait for an Encoder."""
    DECODE = "decode"
    """Latents are decoded into frames and audio."""
    ENCODE = "encode"
    """The clip is encoded into an MP4 and a poster."""
    STORE = "store"
    """The files are written to the output store."""


@dataclass(frozen=True)
class Timings:
    """Durations of a run: seconds per timed stage that it reached, and its number of denoising steps.

    `cold_start` is the replica's timeline if this run waited for its model (models/timing/cold_start.py).
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    cold_start: Mapping[str, float] = field(default_factory=dict)


def _ignore(_lap: TimedStage, _seconds: float) -> None:
    pass


class StageTimer:
    """Sums the seconds of each stage of one run, and calls `tell` when a stage ends. `clock` returns seconds."""

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
        """End the current stage and start `lap`; None starts none."""
        now = self._clock()
        if self._lap is not None:
            self._seconds[self._lap] = self._seconds.get(self._lap, 0.0) + now - self._began_at
            self._tell(self._lap, now - self._began_at)
        self._lap, self._began_at = lap, now

    def observe(self, progress: Progress) -> None:
        """Process a report. The first denoising report starts the text encoding; each later one means a step ran."""
        lap = TIMED_STAGES[progress.stage]
        self._steps = max(self._steps, progress.step if progress.stage is Stage.DENOISING else 0)
        if progress.stage is Stage.DENOISING and self._lap not in (TimedStage.ENCODE_TEXT, TimedStage.DENOISE):
            lap = TimedStage.ENCODE_TEXT
        if lap is not self._lap:
            self.start_stage(lap)

    @property
    def timings(self) -> Timings:
        """The durations of the stages that have ended."""
        return Timings(dict(self._seconds), self._steps)


TIMED_STAGES: dict[Stage, TimedStage | None] = {
    Stage.STARTING: None,
    Stage.DOWNLOADING: TimedStage.DOWNLOAD,
    Stage.LOADING: TimedStage.LOAD,
    Stage.DENOISING: TimedStage.DENOISE,
    Stage.DECODING: TimedStage.DECODE,
    Stage.ENCODING: None,
}
"""The timed stage that a report of each stage starts."""

"""Measures the duration of a task's stages, from the progress reports of a render."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import psutil

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
    """The prompt is encoded into embeddings. So is the first frame, if it is all that is given."""
    ENCODE_GIVEN = "encode_given"
    """Given images, audio and frames are encoded into latents."""
    DENOISE = "denoise"
    """All denoising steps."""
    UPSCALE = "upscale"
    """The latents of the first of two stages are doubled in height and width."""
    REFINE = "refine"
    """All steps of the second of two stages."""
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

    `cold_start` is the replica's timeline if this run waited for its model (models/timing.py).
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    cold_start: Mapping[str, float] = field(default_factory=dict)


def _ignore(_lap: TimedStage, _seconds: float) -> None:
    pass


BEFORE_A_STEP = (TimedStage.ENCODE_TEXT, TimedStage.ENCODE_GIVEN, TimedStage.DENOISE)
"""The stages in which a denoising report means that the denoising has begun."""


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
        """Process a report.

        The first denoising report starts the text encoding. One says that the encoding of what was given starts. Each
        later one means that a step ran.
        """
        lap = TIMED_STAGES[progress.stage]
        self._steps = max(self._steps, progress.step if progress.stage is Stage.DENOISING else 0)
        if progress.encodes_given:
            lap = TimedStage.ENCODE_GIVEN
        elif progress.stage is Stage.DENOISING and self._lap not in BEFORE_A_STEP:
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
    Stage.UPSCALING: TimedStage.UPSCALE,
    Stage.REFINING: TimedStage.REFINE,
    Stage.DECODING: TimedStage.DECODE,
    Stage.ENCODING: None,
}
"""The timed stage that a report of each stage starts."""


class Milestone(StrEnum):
    """Milestones of a cold start. Prefetch and imports run in parallel to the later parts."""

    PROCESS = "process"
    """The operating system started the process. Earlier than the replica if Ray kept the process waiting."""
    REPLICA = "replica"
    """The replica was constructed: the timeline's zero."""
    TASK = "task"
    """The first task arrived."""
    IMPORTED = "imported"
    """torch, diffusers and transformers are imported."""
    READ = "read"
    """The weight files are in the page cache, or as many of them as fit."""
    BUILT = "built"
    """The components are created, with weights mapped from the files."""
    PLACED = "placed"
    """The weights are on their device: the GPU, if there is one."""
    FIRST_STEP = "first_step"
    """The first denoising step is done."""


class ColdStartTimeline:
    """Records when each milestone is first reached. Thread-safe."""

    def __init__(self) -> None:
        self._zero = time.monotonic()
        self._lock = threading.Lock()
        age_s = time.time() - psutil.Process().create_time()
        self._marks: dict[Milestone, float] = {Milestone.PROCESS: -age_s, Milestone.REPLICA: 0.0}

    def record(self, mark: Milestone) -> bool:
        """Record that `mark` is reached. Only the first call for a milestone counts; returns whether this was it."""
        now = time.monotonic() - self._zero
        with self._lock:
            new = mark not in self._marks
            self._marks.setdefault(mark, now)
        return new

    @property
    def milestones(self) -> Mapping[Milestone, float]:
        """Seconds from the replica's construction to each milestone reached; negative for earlier ones."""
        with self._lock:
            return MappingProxyType(dict(self._marks))

    def summary(self) -> str:
        """The milestones in one line, in the order in which they were reached."""
        reached = sorted(self.milestones.items(), key=lambda item: item[1])
        return ", ".join(f"{mark} {at:.2f} s" for mark, at in reached)

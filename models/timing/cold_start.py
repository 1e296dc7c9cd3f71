"""Records a cold start's milestones, from the start of the process to the first denoising step.

Does not import Ray, torch or logging: the caller logs the line, and metrics may read `milestones`.
"""

import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import psutil


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

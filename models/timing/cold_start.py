"""The time line of a cold start: when each part of it was over, from the start of the process to the first step.

Knows no Ray, no torch and no log: the caller writes the line, and metrics may read `marks`.
"""

import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import psutil


class Milestone(StrEnum):
    """Moments of a cold start. Reading ahead and importing go on at the same time as what comes after them."""

    PROCESS = "process"
    """The operating system started the process; earlier than the replica, where Ray had it waiting."""
    REPLICA = "replica"
    """The replica is constructed: the zero of the time line."""
    TASK = "task"
    """The first task has come."""
    IMPORTED = "imported"
    """torch, diffusers and transformers are imported."""
    READ = "read"
    """The files of the weights are in the page cache, or as many of them as fit."""
    BUILT = "built"
    """The components are made, over the files."""
    PLACED = "placed"
    """The weights are where they work: on the GPU, where there is one."""
    FIRST_STEP = "first_step"
    """The first denoising step is done."""


class ColdStartTimeline:
    """Notes when each mark is first reached. Safe between threads."""

    def __init__(self) -> None:
        self._zero = time.monotonic()
        self._lock = threading.Lock()
        age_s = time.time() - psutil.Process().create_time()
        self._marks: dict[Milestone, float] = {Milestone.PROCESS: -age_s, Milestone.REPLICA: 0.0}

    def record(self, mark: Milestone) -> bool:
        """Note that `mark` is reached. Only the first time counts: returns whether this was it."""
        now = time.monotonic() - self._zero
        with self._lock:
            new = mark not in self._marks
            self._marks.setdefault(mark, now)
        return new

    @property
    def milestones(self) -> Mapping[Milestone, float]:
        """Seconds from the replica's construction to each mark that is reached; negative for what was before it."""
        with self._lock:
            return MappingProxyType(dict(self._marks))

    def summary(self) -> str:
        """The marks in one line, in the order in which they were reached."""
        reached = sorted(self.milestones.items(), key=lambda item: item[1])
        return ", ".join(f"{mark} {at:.2f} s" for mark, at in reached)

"""Detects when a Generator has to exit: a stage without reports for too long, or a broken GPU."""

import threading
import time
from collections.abc import Hashable

from models.progress import Stage

COMPILING = (Stage.DENOISING, Stage.UPSCALING, Stage.REFINING)
"""The stages whose transformer calls may compile."""
REPORT_GRACE_S = 1.0
"""Time for the failure of the task that broke the GPU to leave the process before it exits."""


class Watchdog:
    """Tracks the reports of one Generator. `load_timeout_s` applies to downloads and loads, and to compiling steps."""

    def __init__(self, stall_timeout_s: float, load_timeout_s: float) -> None:
        self._timeouts_s = {Stage.LOADING: load_timeout_s, Stage.DOWNLOADING: load_timeout_s}
        self._stall_timeout_s = stall_timeout_s
        self._load_timeout_s = load_timeout_s
        self._compiling: Hashable | None = None
        self._compiled: set[Hashable] = set()
        self._seen: tuple[Stage, float] | None = None
        self._broken: tuple[str, float] | None = None

    def expect_compiling(self, kind: Hashable) -> None:
        """Allow more time per step for the current task, unless an earlier task of the same `kind` compiled its graphs.

        A step reports when it ends. In the first step torch compiles several graphs, each for a minute or more.
        """
        self._compiling = None if kind in self._compiled else kind

    def feed(self, stage: Stage) -> None:
        """Record a report of `stage`."""
        if stage is Stage.DECODING and self._compiling is not None:
            self._compiled.add(self._compiling)
        self._seen = (stage, time.monotonic())

    def stop(self) -> None:
        """Record that no stage is active."""
        self._seen = self._compiling = None

    def mark_broken(self, fault: str) -> None:
        """Record that this process can no longer use its GPU."""
        self._broken = (fault, time.monotonic())

    def block_if_broken(self) -> None:
        """Block forever once the GPU is broken. A task that waits here is not started and goes to the next replica."""
        if self._broken is not None:
            threading.Event().wait()

    def failure_reason(self) -> str | None:
        """The reason why this process must exit, or None."""
        if self._broken is not None:
            fault, at = self._broken
            return f"its GPU is broken: {fault}" if time.monotonic() - at >= REPORT_GRACE_S else None
        return self._find_stall()

    def _find_stall(self) -> str | None:
        if (seen := self._seen) is None:
            return None
        stage, at = seen
        limit = self._timeouts_s.get(stage, self._stall_timeout_s)
        if stage in COMPILING and self._compiling is not None:
            limit = max(limit, self._load_timeout_s)
        if (silence := time.monotonic() - at) <= limit:
            return None
        return f"{stage} has not reported for {silence:.0f} s; the limit is {limit:.0f} s"

"""Knows when a Generator has to end: a stage that says nothing for too long, or a GPU that is broken."""

import threading
import time
from collections.abc import Hashable

from models.progress import Stage

REPORT_GRACE_S = 1.0
"""How long the answer of the task that broke the GPU has to leave the process."""


class Watchdog:
    """Hears every report of a Generator."""

    def __init__(self, stall_timeout_s: float, load_timeout_s: float) -> None:
        self._timeouts_s = {Stage.LOADING: load_timeout_s, Stage.DOWNLOADING: load_timeout_s}
        self._stall_timeout_s = stall_timeout_s
        self._load_timeout_s = load_timeout_s
        self._compiling: Hashable | None = None
        self._compiled: set[Hashable] = set()
        self._seen: tuple[Stage, float] | None = None
        self._broken: tuple[str, float] | None = None

    def expect_compiling(self, kind: Hashable) -> None:
        """Note that the task at hand may compile at any of its steps, unless one of its `kind` has made all of its own.

        A step reports when it ends, and torch compiles several graphs in the first: each may take a minute or more.
        """
        self._compiling = None if kind in self._compiled else kind

    def feed(self, stage: Stage) -> None:
        """Note that the stage at hand has reported."""
        if stage is Stage.DECODING and self._compiling is not None:
            self._compiled.add(self._compiling)
        self._seen = (stage, time.monotonic())

    def stop(self) -> None:
        """Note that no stage is at hand."""
        self._seen = self._compiling = None

    def mark_broken(self, fault: str) -> None:
        """Note that this process can use its GPU no more."""
        self._broken = (fault, time.monotonic())

    def block_if_broken(self) -> None:
        """Never return once the GPU is broken: a task that waits here is not started, and goes to the next replica."""
        if self._broken is not None:
            threading.Event().wait()

    def failure_reason(self) -> str | None:
        """Say why this process must end, if it must."""
        if self._broken is not None:
            fault, at = self._broken
            return f"its GPU is broken: {fault}" if time.monotonic() - at >= REPORT_GRACE_S else None
        return self._find_stall()

    def _find_stall(self) -> str | None:
        if (seen := self._seen) is None:
            return None
        stage, at = seen
        limit = self._timeouts_s.get(stage, self._stall_timeout_s)
        if stage is Stage.DENOISING and self._compiling is not None:
            limit = max(limit, self._load_timeout_s)
        if (silence := time.monotonic() - at) <= limit:
            return None
        return f"nothing was heard from {stage} for {silence:.0f} s; the limit is {limit:.0f} s"

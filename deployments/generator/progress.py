"""Forwards each progress report of a run to the task row, replica status, log context, timers and watchdog."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.generator.backpressure import PendingClips
from deployments.generator.replica_status import ReplicaStatus
from deployments.generator.watchdog import Watchdog
from deployments.observability import log_context
from models.errors import StoreUnavailable, TaskCanceled
from models.progress import Progress, Stage
from models.timing import ColdStartTimeline, Milestone, StageTimer, TimedStage
from storage.sql.workers import WorkerQueries
from storage.tasks import ReplicaState, Task

WRITE_INTERVAL_S = 0.25
"""Minimum time between two writes of one stage. In between, the store is only asked whether the claim still holds."""
ANSWER_TIMEOUT_S = 0.2
"""How long a step waits for the store's answer. Without an answer the run continues; the next step asks again."""


class ProgressReporter:
    """Reports the progress of one task to the store. Call it with each Progress; it raises TaskCanceled.

    The reporter's thread calls `after_each` after each answered report. No step waits for it.
    """

    def __init__(self, store: WorkerQueries, task: Task, after_each: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._after_each = after_each
        self._task = task
        self._changed = threading.Condition()
        self._latest: Progress | None = None
        self._asked = 0
        self._answered = 0
        self._lost = False
        self._closed = False
        self._written: Progress | None = None
        self._written_at = 0.0
        self.last_call_at = time.monotonic()
        in_context = contextvars.copy_context().run  # so that the thread's log lines name the task
        self._thread = threading.Thread(target=in_context, args=(self._run,), name=f"report-{task.id[:8]}", daemon=True)
        self._thread.start()

    def __call__(self, progress: Progress) -> None:
        """Pass on a report and check that this claim still owns the task. Raises TaskCanceled if it does not."""
        self.last_call_at = time.monotonic()
        with self._changed:
            self._latest = progress
            self._asked += 1
            number = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= number or self._lost, ANSWER_TIMEOUT_S)
            if self._lost:
                raise TaskCanceled("the task was canceled, or taken over by another worker")

    def update_task(self, task: Task) -> None:
        """Replace the task with a newer copy of the same claim."""
        self._task = task

    def close(self) -> None:
        """Stop reporting. Waits at most ANSWER_TIMEOUT_S for the store."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(ANSWER_TIMEOUT_S)

    def _run(self) -> None:
        while (number := self._next()) is not None:
            try:
                lost = not self._send()
            except StoreUnavailable as error:
                logger.warning("task %s: progress not written: %s", self._task.id, error.message)
                lost, self._written = False, None
            with self._changed:
                self._lost = self._lost or lost
                self._answered = number
                self._changed.notify_all()
            self._after_each()

    def _next(self) -> int | None:
        """Wait for a report. Returns its number, or None when the reporter is closed or the task was lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._asked > self._answered)
            return None if self._closed or self._lost else self._asked

    def _send(self) -> bool:
        progress = self._latest
        assert progress is not None  # noqa: S101  # _next waits for one
        same_stage = self._written is not None and self._written.stage == progress.stage
        if same_stage and time.monotonic() - self._written_at < WRITE_INTERVAL_S:
            return self._store.owns_task(self._task)
        self._written, self._written_at = progress, time.monotonic()
        return self._store.report_progress(self._task, progress)


LINES = 20
GB = 1e9


class DownloadLog:
    """Logs the download of one run. Call it with each Progress."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, progress: Progress) -> None:
        """Log a line if another 5 % has been downloaded since the last line."""
        if progress.stage != Stage.DOWNLOADING or not progress.bytes_total:
            return
        twentieth = progress.bytes_done * LINES // progress.bytes_total
        if twentieth > self._told:
            self._told = twentieth
            done, total = progress.bytes_done / GB, progress.bytes_total / GB
            logger.info("downloading the model: %.1f of %.1f GB (%d %%)", done, total, 100 * twentieth // LINES)


BACKPRESSURE_CHECK_S = 0.25
STATE_BY_STAGE = {Stage.DOWNLOADING: ReplicaState.DOWNLOADING, Stage.LOADING: ReplicaState.LOADING}

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class ProgressDispatcher:
    """The dispatcher of one run. Call it with each Progress; it raises TaskCanceled."""

    reporter: ProgressReporter
    stopwatch: StageTimer
    timeline: ColdStartTimeline
    watchdog: Watchdog
    replica_status: ReplicaStatus
    pending_clips: PendingClips
    download_log: DownloadLog = field(default_factory=DownloadLog)

    def __call__(self, progress: Progress) -> None:
        """Forward a report. The report that decoding begins returns only when there is room for the clip."""
        self.watchdog.feed(progress.stage)
        log_context.set_stage(progress.stage)
        self.stopwatch.observe(progress)
        self.download_log(progress)
        if progress.stage in STATE_BY_STAGE:
            state, done, total = STATE_BY_STAGE[progress.stage], progress.bytes_done, progress.bytes_total
            self.replica_status.set_state(state, bytes_done=done, bytes_total=total)
        if progress.step == 1 and self.timeline.record(Milestone.FIRST_STEP):
            logger.info("cold start: %s", self.timeline.summary())
        self.reporter(progress)
        if progress.stage == Stage.DECODING:
            self._wait_for_encoder()

    def close(self) -> None:
        """Record the end of the run."""
        self.stopwatch.start_stage(None)
        self.reporter.close()
        self.watchdog.stop()
        self.replica_status.heartbeat_now()

    def _wait_for_encoder(self) -> None:
        """Wait before decoding until earlier clips are encoded. Keeps reporting, so that a cancel still has effect."""
        self.stopwatch.start_stage(TimedStage.WAIT_FOR_ENCODER)
        while self.pending_clips.is_full():
            self.watchdog.feed(Stage.DECODING)
            self.reporter(Progress(Stage.DECODING))
            time.sleep(BACKPRESSURE_CHECK_S)
        self.stopwatch.start_stage(TimedStage.DECODE)

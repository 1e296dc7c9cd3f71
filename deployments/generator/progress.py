"""Forwards each progress report of a run to the task row, replica status, log context, timers and watchdog."""

import logging
import time
from dataclasses import dataclass, field

from deployments.generator.backpressure import PendingClips
from deployments.generator.progress_reporter import DownloadLog, ProgressReporter
from deployments.generator.replica_status import ReplicaStatus
from deployments.generator.watchdog import Watchdog
from deployments.observability import log_context
from models.progress import Progress, Stage
from models.timing import ColdStartTimeline, Milestone, StageTimer, TimedStage
from storage.tasks import ReplicaState

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

"""Hears each report of a run, and tells whoever follows it: the row, /health, the log, the clocks, the watch."""

import logging
import time
from dataclasses import dataclass, field

from deployments import logs
from deployments.generator.download_log import DownloadLog
from deployments.generator.presence import Presence
from deployments.generator.reports import Reporter
from deployments.generator.waiting_clips import WaitingClips
from deployments.generator.watch import Watch
from models.progress import Progress, Stage
from models.stopwatch import Lap, Stopwatch
from models.timeline import Mark, Timeline
from storage.tasks import ReplicaState

ROOM_CHECK_S = 0.25
STATE_OF_STAGE = {Stage.DOWNLOADING: ReplicaState.DOWNLOADING, Stage.LOADING: ReplicaState.LOADING}

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Hearing:
    """Of one run. Call it with each Progress; it raises TaskCancelled."""

    reporter: Reporter
    stopwatch: Stopwatch
    timeline: Timeline
    watch: Watch
    presence: Presence
    waiting_clips: WaitingClips
    download_log: DownloadLog = field(default_factory=DownloadLog)

    def __call__(self, progress: Progress) -> None:
        """Pass it on. The report that decoding begins returns when there is room for the clip."""
        self.watch.saw(progress.stage)
        logs.reached(progress.stage)
        self.stopwatch.saw(progress)
        self.download_log(progress)
        if progress.stage in STATE_OF_STAGE:
            state, done, total = STATE_OF_STAGE[progress.stage], progress.bytes_done, progress.bytes_total
            self.presence.describe(state, bytes_done=done, bytes_total=total)
        if progress.step == 1 and self.timeline.mark(Mark.FIRST_STEP):
            logger.info("cold start: %s", self.timeline.line())
        self.reporter(progress)
        if progress.stage == Stage.DECODING:
            self._wait_for_room()

    def close(self) -> None:
        """Note that the run is over."""
        self.stopwatch.begin(None)
        self.reporter.close()
        self.watch.stop()
        self.presence.beat_now()

    def _wait_for_room(self) -> None:
        """Hold the GPU back before a clip comes to be. Goes on reporting, so that a cancel is still heard."""
        self.stopwatch.begin(Lap.WAIT_FOR_ENCODER)
        while self.waiting_clips.full():
            self.watch.saw(Stage.DECODING)
            self.reporter(Progress(Stage.DECODING))
            time.sleep(ROOM_CHECK_S)
        self.stopwatch.begin(Lap.DECODE)

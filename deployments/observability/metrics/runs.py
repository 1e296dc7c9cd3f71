"""What is counted of a run that became a file, by its Encoder.

Generators come and go with their GPU, and a series that is new tells Prometheus nothing: so their times travel with
the clip to one who stays.
"""

from deployments.observability.metrics.definitions import (
    COLD_START_DURATION_SECONDS,
    COLD_STARTS,
    STAGE_DURATION_SECONDS,
    STEP_DURATION_SECONDS,
)
from deployments.observability.metrics.labels import MILESTONE
from deployments.observability.metrics.recorder import MetricsRecorder
from models.timing.stages import TimedStage, Timings


def record_run(metrics: MetricsRecorder, rendered: Timings, encoded: Timings) -> None:
    """Count the laps of a run: those that made its clip and those that made its file."""
    for lap, seconds in (*rendered.seconds.items(), *encoded.seconds.items()):
        metrics.observe(STAGE_DURATION_SECONDS, seconds, stage=lap)
    if rendered.steps and (denoise_s := rendered.seconds.get(TimedStage.DENOISE)) is not None:
        metrics.observe(STEP_DURATION_SECONDS, denoise_s / rendered.steps)
    if rendered.cold_start:
        metrics.add(COLD_STARTS)
        for mark in set(rendered.cold_start).intersection(MILESTONE.values):
            metrics.observe(COLD_START_DURATION_SECONDS, rendered.cold_start[mark], mark=mark)

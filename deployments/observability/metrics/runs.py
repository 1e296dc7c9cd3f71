"""The metrics of a run that produced a file. The Encoder records them.

Generators start and stop with their GPU, and the first value of a new series is lost to Prometheus. So the times of a
run travel with its clip to the Encoder, which keeps running.
"""

from deployments.observability.metrics.definitions import (
    COLD_START_DURATION_SECONDS,
    COLD_STARTS,
    MILESTONE,
    STAGE_DURATION_SECONDS,
    STEP_DURATION_SECONDS,
)
from deployments.observability.metrics.recorder import MetricsRecorder
from models.timing.stages import TimedStage, Timings


def record_run(metrics: MetricsRecorder, rendered: Timings, encoded: Timings) -> None:
    """Record the stages of a run: `rendered` by the Generator, `encoded` by the Encoder."""
    for lap, seconds in (*rendered.seconds.items(), *encoded.seconds.items()):
        metrics.observe(STAGE_DURATION_SECONDS, seconds, stage=lap)
    if rendered.steps and (denoise_s := rendered.seconds.get(TimedStage.DENOISE)) is not None:
        metrics.observe(STEP_DURATION_SECONDS, denoise_s / rendered.steps)
    if rendered.cold_start:
        metrics.add(COLD_STARTS)
        for mark in set(rendered.cold_start).intersection(MILESTONE.values):
            metrics.observe(COLD_START_DURATION_SECONDS, rendered.cold_start[mark], mark=mark)

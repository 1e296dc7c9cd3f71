"""The metrics of ended tasks and of their runs.

The store calls the recorder of ends once per task, in whichever process ends it. The Encoder records a run.
"""

from collections.abc import Callable, Collection

from deployments.observability.metrics.definitions import (
    COLD_START_DURATION_SECONDS,
    COLD_STARTS,
    LORA_TASKS,
    MILESTONE,
    NONE,
    OTHER,
    OUTPUT_BYTES,
    OUTPUT_VIDEO_SECONDS,
    STAGE_DURATION_SECONDS,
    STEP_DURATION_SECONDS,
    TASK_DURATION_SECONDS,
    TASK_QUEUE_WAIT_SECONDS,
    TASKS_ENDED,
)
from deployments.observability.metrics.recorder import MetricsRecorder
from models.timing import TimedStage, Timings
from storage.tasks import State, Task


def task_end_recorder(
    metrics: MetricsRecorder, *outcomes: State, loras: Collection[str] = ()
) -> Callable[[Task], None]:
    """Make the callback for a task store of a deployment that ends tasks with these `outcomes`.

    `loras` are the names that the operator set. A task may still name one that was there before a restart.
    """
    for outcome in outcomes:
        code = {} if outcome is State.FAILED else {"code": NONE}
        metrics.initialize(TASKS_ENDED, outcome=outcome.value, **code)
    if State.COMPLETED in outcomes:
        metrics.initialize(OUTPUT_BYTES)
        metrics.initialize(OUTPUT_VIDEO_SECONDS)
        for name in (*loras, OTHER):
            metrics.initialize(LORA_TASKS, lora=name)

    def count(task: Task) -> None:
        outcome = task.state.value
        metrics.add(TASKS_ENDED, outcome=outcome, code=task.failure.code if task.failure else NONE)
        if task.finished_at is not None:
            metrics.observe(TASK_DURATION_SECONDS, task.finished_at - task.created_at, outcome=outcome)
        if task.started_at is not None:
            metrics.observe(TASK_QUEUE_WAIT_SECONDS, task.started_at - task.created_at)
        if task.state is State.COMPLETED and task.output is not None:
            metrics.add(OUTPUT_BYTES, task.output.size_bytes)
            metrics.add(OUTPUT_VIDEO_SECONDS, task.output.duration_s)
            for name in (each.name for each in task.request.chosen_loras if each.scale):
                metrics.add(LORA_TASKS, lora=name if name in loras else OTHER)

    return count


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

"""The metrics of an ended task. The store calls the recorder once per task, in whichever process ends it."""

from collections.abc import Callable

from deployments.observability.metrics.definitions import (
    NONE,
    OUTPUT_BYTES,
    OUTPUT_VIDEO_SECONDS,
    TASK_DURATION_SECONDS,
    TASK_QUEUE_WAIT_SECONDS,
    TASKS_ENDED,
)
from deployments.observability.metrics.recorder import MetricsRecorder
from storage.tasks import State, Task


def task_end_recorder(metrics: MetricsRecorder, *outcomes: State) -> Callable[[Task], None]:
    """Make the callback for a task store of a deployment that ends tasks with these `outcomes`."""
    for outcome in outcomes:
        code = {} if outcome is State.FAILED else {"code": NONE}
        metrics.initialize(TASKS_ENDED, outcome=outcome.value, **code)
    if State.COMPLETED in outcomes:
        metrics.initialize(OUTPUT_BYTES)
        metrics.initialize(OUTPUT_VIDEO_SECONDS)

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

    return count

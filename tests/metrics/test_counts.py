"""The counts when a task ends, and when a run becomes a file."""

from dataclasses import replace

from deployments.observability.metrics.definitions import (
    COLD_START_DURATION_SECONDS,
    COLD_STARTS,
    LORA_TASKS,
    OUTPUT_BYTES,
    OUTPUT_VIDEO_SECONDS,
    STAGE_DURATION_SECONDS,
    STEP_DURATION_SECONDS,
    TASK_DURATION_SECONDS,
    TASK_QUEUE_WAIT_SECONDS,
    TASKS_ENDED,
)
from deployments.observability.metrics.task_ends import record_run, task_end_recorder
from models.request.loras import LoraChoice
from models.request.request import VideoRequest
from models.timing import Milestone, TimedStage, Timings
from storage.tasks import Failure, Output, State, Task
from tests.metrics.recorded import RecordedMetrics
from tests.tasks import WAITING

COMPLETED = replace(
    WAITING,
    state=State.COMPLETED,
    progress=1.0,
    created_at=100.0,
    started_at=130.0,
    finished_at=190.0,
    output=Output("k", "p", 4.84, 1_000),
)
ALL = (State.COMPLETED, State.FAILED, State.CANCELED)


def counted(*tasks: Task) -> RecordedMetrics:
    recorded = RecordedMetrics()
    count = task_end_recorder(recorded, *ALL)
    for task in tasks:
        count(task)
    return recorded


def test_a_completed_task_counts_with_its_wait_its_time_and_its_file() -> None:
    recorded = counted(COMPLETED)
    assert recorded.value(TASKS_ENDED, outcome="completed", code="none") == 1
    assert recorded.seen(TASK_QUEUE_WAIT_SECONDS) == [30.0]
    assert recorded.seen(TASK_DURATION_SECONDS, outcome="completed") == [90.0]
    assert (recorded.value(OUTPUT_BYTES), recorded.value(OUTPUT_VIDEO_SECONDS)) == (1_000, 4.84)


def test_a_completed_task_counts_for_each_of_its_loras() -> None:
    recorded = RecordedMetrics()
    count = task_end_recorder(recorded, *ALL, loras={"ink": 1, "dolly_in": 1, "noir": 1})
    picked = [LoraChoice(name=name, scale=scale) for name, scale in (("ink", 0.5), ("removed", 1), ("noir", 0))]
    asked = VideoRequest(prompt="x", loras=tuple(picked), camera_motion="dolly_in")
    count(replace(COMPLETED, request=asked))
    count(replace(COMPLETED, state=State.FAILED, output=None, request=asked))
    values = {name: recorded.value(LORA_TASKS, lora=name) for name in ("ink", "dolly_in", "noir", "other", "removed")}
    assert values == {"ink": 1, "dolly_in": 1, "noir": 0, "other": 1, "removed": None}


def test_a_failed_task_counts_by_its_code_and_makes_no_bytes() -> None:
    why = Failure("x", "out_of_memory", retryable=False)
    recorded = counted(replace(COMPLETED, state=State.FAILED, output=None, failure=why))
    assert recorded.value(TASKS_ENDED, outcome="failed", code="out_of_memory") == 1
    assert recorded.value(OUTPUT_BYTES) == 0


def test_a_task_that_was_canceled_in_the_queue_has_no_wait() -> None:
    recorded = counted(replace(COMPLETED, state=State.CANCELED, started_at=None, output=None))
    assert recorded.value(TASKS_ENDED, outcome="canceled", code="none") == 1
    assert recorded.seen(TASK_QUEUE_WAIT_SECONDS) == []


def test_every_end_that_a_deployment_brings_is_there_before_the_first() -> None:
    recorded = counted()
    for outcome, code in (("completed", "none"), ("canceled", "none"), ("failed", "render_failed")):
        assert recorded.value(TASKS_ENDED, outcome=outcome, code=code) == 0
    assert recorded.value(LORA_TASKS, lora="other") == 0


def test_a_cold_run_counts_its_laps_its_step_and_its_time_line() -> None:
    recorded = RecordedMetrics()
    marks = {Milestone.PROCESS: -3.0, Milestone.REPLICA: 0.0, Milestone.TASK: 0.5, Milestone.FIRST_STEP: 40.0}
    rendered = Timings({TimedStage.LOAD: 30.0, TimedStage.DENOISE: 80.0}, steps=40, cold_start=marks)
    record_run(recorded, rendered, Timings({TimedStage.ENCODE: 3.0}))
    assert recorded.seen(STAGE_DURATION_SECONDS, stage="load") == [30.0]
    assert recorded.seen(STAGE_DURATION_SECONDS, stage="encode") == [3.0]
    assert recorded.seen(STEP_DURATION_SECONDS) == [2.0]
    assert recorded.value(COLD_STARTS) == 1
    assert recorded.seen(COLD_START_DURATION_SECONDS, mark="first_step") == [40.0]


def test_a_model_that_was_there_or_only_asleep_is_no_cold_start() -> None:
    recorded = RecordedMetrics()
    record_run(
        recorded, Timings({TimedStage.LOAD: 2.0, TimedStage.DENOISE: 80.0}, steps=40), Timings({TimedStage.ENCODE: 3.0})
    )
    assert recorded.value(COLD_STARTS) is None

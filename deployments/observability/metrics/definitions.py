"""All metrics: name, kind, unit, labels and their values. Does not import Ray.

A label never contains a task id, a prompt, or anything else that a client can choose. docs/metrics.md shows this table
to operators; a test compares the two.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from models.errors import (
    DoesNotFit,
    EnhancementFailed,
    IdempotencyKeyReused,
    InvalidRequest,
    QueueFull,
    ReaderLost,
    TaskCanceled,
    VideoError,
)
from models.progress import Stage
from models.timing import Milestone, TimedStage
from storage.outputs.store import DerivedFile
from storage.tasks import ReplicaState, State

OTHER = "other"
NONE = "none"


@dataclass(frozen=True)
class Label:
    """One label. Without `values` any value is recorded; `bounds` then says why their number is limited."""

    name: str
    values: tuple[str, ...] = ()
    bounds: str = ""

    def normalize(self, value: str) -> str:
        """The value to record: `value`, or `other` when it is not allowed."""
        return value if not self.values or value in self.values else OTHER


OUTCOME = Label("outcome", (State.COMPLETED.value, State.FAILED.value, State.CANCELED.value))
END_NO_TASK = (InvalidRequest, ReaderLost, EnhancementFailed, IdempotencyKeyReused, QueueFull, TaskCanceled)
"""Errors that refuse a request before it is a task, or take a task from its worker. They do not fail a task."""


def _failures(kind: type[VideoError]) -> Iterator[str]:
    """The codes of `kind` and its subclasses, without those that cannot fail a task."""
    if kind not in END_NO_TASK:
        yield kind.code
        for below in kind.__subclasses__():
            yield from _failures(below)


CODE = Label(
    "code",
    (
        NONE,
        *_failures(VideoError),
        *_failures(DoesNotFit),  # an invalid request that only the loaded model can detect
        "replica_lost",
        "too_many_restarts",
        "model_not_served",
        "timeout",
        OTHER,
    ),
    "the error_code of a failed task, `none` or `other`",
)
KIND = Label("kind", ("text", "image", "audio", "video"))
GENERATOR_LOST, ENCODER_LOST, DISPATCHER_LOST, PUT_BACK = (
    "generator_lost",
    "encoder_lost",
    "dispatcher_lost",
    "put_back",
)
REASON = Label("reason", (GENERATOR_LOST, ENCODER_LOST, DISPATCHER_LOST, PUT_BACK))
STATE = Label("state", (State.QUEUED.value, *(stage.value for stage in Stage)))
GENERATOR = Label("state", tuple(state.value for state in ReplicaState))
STAGE = Label("stage", tuple(lap.value for lap in TimedStage))
MILESTONE = Label("mark", tuple(mark.value for mark in Milestone if mark not in (Milestone.PROCESS, Milestone.REPLICA)))
DELIVERED, TRIED_AGAIN, GIVEN_UP = "delivered", "tried_again", "given_up"
ENHANCED, NOT_ENHANCED = "enhanced", "failed"
ENHANCEMENT = Label("outcome", (ENHANCED, NOT_ENHANCED))
PREVIEW_STORED, PREVIEW_FAILED = "stored", "failed"
PREVIEW = Label("outcome", (PREVIEW_STORED, PREVIEW_FAILED))
DELIVERY = Label("outcome", (DELIVERED, TRIED_AGAIN, GIVEN_UP))
LORA = Label("lora", bounds="the names in `generator.loras`, or `other`")
DERIVED_FILE = Label("file", tuple(kind.value for kind in DerivedFile))
ROUTE = Label("route", bounds="the paths of the API as /openapi.json has them, /mcp and /uploads, or `unmatched`")
METHOD = Label("method", ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", OTHER))
STATUS = Label("status", bounds="the status codes that the API gives")


PREFIX = "ray_"
"""The prefix that Ray adds to every metric name."""
SECONDS = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0),
    *(60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0),
)
"""Histogram bounds, in seconds. Narrow where task times lie: Ray computes a sum from the middles of the buckets."""
ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Kind(StrEnum):
    """The Prometheus type of a metric."""

    COUNTER = "counter"
    """Only rises. Prometheus adds `_total` to its name."""
    GAUGE = "gauge"
    """A current value."""
    HISTOGRAM = "histogram"
    """Counts observations by their value, in buckets."""


SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}


@dataclass(frozen=True)
class Metric:
    """One metric. `buckets` are the upper bounds of a histogram's buckets, in `unit`."""

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names of this metric's series in Prometheus."""
        return tuple(f"{PREFIX}{self.name}{suffix}" for suffix in SUFFIXES[self.kind])

    def tags(self, given: dict[str, str]) -> dict[str, str]:
        """The tags of one record. A label value that is not allowed is replaced by `other`.

        Raises ValueError when a label is missing or unknown, which is an error in the calling code.
        """
        if sorted(given) != sorted(self._names):
            raise ValueError(f"{self.name} has the labels {self._names}, not {sorted(given)}")
        return {label.name: label.normalize(given[label.name]) for label in self.labels}

    def all_tags(self, fixed: dict[str, str]) -> list[dict[str, str]]:
        """All combinations of label values in which the labels in `fixed` have the given values."""
        values = [(fixed[label.name],) if label.name in fixed else label.values for label in self.labels]
        return [self.tags(dict(zip(self._names, each, strict=True))) for each in itertools.product(*values)]

    @property
    def _names(self) -> list[str]:
        return [label.name for label in self.labels]


TASKS_SUBMITTED = Metric("ltx2_tasks_submitted", Kind.COUNTER, "tasks", "Tasks that were put into the queue.", (KIND,))
TASKS_ENDED = Metric(
    "ltx2_tasks_ended",
    Kind.COUNTER,
    "tasks",
    "Tasks that came to their end, each once. `code` is the error_code of a failed one, or none.",
    (OUTCOME, CODE),
)
TASK_RETRIES = Metric(
    "ltx2_task_retries", Kind.COUNTER, "runs", "Runs that went wrong and were tried again, by what was lost.", (REASON,)
)
TASKS = Metric(
    "ltx2_tasks",
    Kind.GAUGE,
    "tasks",
    "Tasks that have not ended, by where they stand: queued, or the stage that they are in.",
    (STATE,),
)
OLDEST_QUEUED_AGE_SECONDS = Metric(
    "ltx2_oldest_queued_age_seconds",
    Kind.GAUGE,
    "seconds",
    "How long the oldest queued task has waited; 0 without one.",
)
GENERATORS = Metric(
    "ltx2_generators", Kind.GAUGE, "replicas", "Generators by what they are doing with their model.", (GENERATOR,)
)
PAUSED = Metric("ltx2_paused", Kind.GAUGE, "1 or 0", "Whether an operator has paused claims.")
QUEUE_SAMPLED_TIMESTAMP_SECONDS = Metric(
    "ltx2_queue_sampled_timestamp_seconds",
    Kind.GAUGE,
    "seconds since the epoch",
    "When the gauges above were last read from the database. Old: no Dispatcher works, or the database is away.",
)
TASK_QUEUE_WAIT_SECONDS = Metric(
    "ltx2_task_queue_wait_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From the submit of a task to the start of the run that ended it.",
    buckets=SECONDS,
)
TASK_DURATION_SECONDS = Metric(
    "ltx2_task_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From the submit of a task to its end.",
    (OUTCOME,),
    buckets=SECONDS,
)
STAGE_DURATION_SECONDS = Metric(
    "ltx2_stage_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "Time in each stage of a run that became a file; `claim` is from the submit to the first claim.",
    (STAGE,),
    SECONDS,
)
STEP_DURATION_SECONDS = Metric(
    "ltx2_denoising_step_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "One denoising step, the mean of its task.",
    buckets=SECONDS,
)
COLD_STARTS = Metric("ltx2_cold_starts", Kind.COUNTER, "loads", "Runs that found no model in memory, awake or asleep.")
COLD_START_DURATION_SECONDS = Metric(
    "ltx2_cold_start_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From the construction of a Generator's replica to each mark of its time line; `first_step` is all of it.",
    (MILESTONE,),
    SECONDS,
)
GPU_MEMORY_PEAK_BYTES = Metric(
    "ltx2_gpu_memory_peak_bytes",
    Kind.GAUGE,
    "bytes",
    "Most GPU memory that torch held at once in the Generator's last render; 0 on a CPU.",
)
GPU_MEMORY_BYTES = Metric(
    "ltx2_gpu_memory_bytes", Kind.GAUGE, "bytes", "All the memory of the Generator's GPU; 0 on a CPU."
)
DECODE_RETRIES = Metric(
    "ltx2_decode_retries",
    Kind.COUNTER,
    "decodes",
    "Decodes that ran out of GPU memory and were done again: the video's in tiles.",
)
PREVIEWS = Metric(
    "ltx2_previews",
    Kind.COUNTER,
    "previews",
    "Previews of videos that are being denoised, by what came of them.",
    (PREVIEW,),
)
PREVIEW_DURATION_SECONDS = Metric(
    "ltx2_preview_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "Time that a preview takes from the denoising.",
    buckets=ANSWER_SECONDS,
)
LORA_TASKS = Metric(
    "ltx2_lora_tasks",
    Kind.COUNTER,
    "tasks",
    "Completed tasks by LoRA, a camera motion among them. One with two LoRAs counts for both.",
    (LORA,),
)
OUTPUT_BYTES = Metric("ltx2_output_bytes", Kind.COUNTER, "bytes", "Size of the videos that were made.")
OUTPUT_VIDEO_SECONDS = Metric(
    "ltx2_output_video_seconds", Kind.COUNTER, "seconds", "Length of the videos that were made."
)
DERIVED_FILE_DURATION_SECONDS = Metric(
    "ltx2_derived_file_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "Time to make a file from a completed video when a client first asked for it.",
    (DERIVED_FILE,),
    ANSWER_SECONDS,
)
WEBHOOKS = Metric(
    "ltx2_webhooks", Kind.COUNTER, "tries", "Tries to deliver a webhook, by what came of them.", (DELIVERY,)
)
PROMPT_ENHANCEMENT_DURATION_SECONDS = Metric(
    "ltx2_prompt_enhancement_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From asking the language model for a prompt to its answer.",
    (ENHANCEMENT,),
    ANSWER_SECONDS,
)
HTTP_REQUESTS = Metric(
    "ltx2_http_requests",
    Kind.COUNTER,
    "requests",
    "Requests that were answered. Ray Serve's own count has no route below `/`.",
    (ROUTE, METHOD, STATUS),
)
HTTP_REQUEST_DURATION_SECONDS = Metric(
    "ltx2_http_request_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From a request to the first byte of its answer.",
    (ROUTE,),
    ANSWER_SECONDS,
)

ALL_METRICS = (
    TASKS_SUBMITTED,
    TASKS_ENDED,
    TASK_RETRIES,
    TASKS,
    OLDEST_QUEUED_AGE_SECONDS,
    GENERATORS,
    PAUSED,
    QUEUE_SAMPLED_TIMESTAMP_SECONDS,
    TASK_QUEUE_WAIT_SECONDS,
    TASK_DURATION_SECONDS,
    STAGE_DURATION_SECONDS,
    STEP_DURATION_SECONDS,
    COLD_STARTS,
    COLD_START_DURATION_SECONDS,
    GPU_MEMORY_PEAK_BYTES,
    GPU_MEMORY_BYTES,
    DECODE_RETRIES,
    PREVIEWS,
    PREVIEW_DURATION_SECONDS,
    LORA_TASKS,
    OUTPUT_BYTES,
    OUTPUT_VIDEO_SECONDS,
    DERIVED_FILE_DURATION_SECONDS,
    WEBHOOKS,
    PROMPT_ENHANCEMENT_DURATION_SECONDS,
    HTTP_REQUESTS,
    HTTP_REQUEST_DURATION_SECONDS,
)

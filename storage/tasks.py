"""The task record, which is the source of truth about one video, and the states of a task."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.checkpoint.profile import CheckpointProfile
from models.progress import Stage
from models.request.adjustments import Adjustment, apply_adjustments
from models.request.request import VideoRequest

TASK_ID_BYTES = 16
TASK_ID_PATTERN = re.compile(rf"[0-9a-f]{{{2 * TASK_ID_BYTES}}}")
"""128 random bits, so that a task id cannot be guessed. Without API keys, whoever knows the id can read the video."""
ANONYMOUS = ""
"""The owner of tasks that were submitted without an API key. No API key has this name."""


class State(StrEnum):
    """The state of a task."""

    QUEUED = "queued"
    """Accepted; its run has not started."""
    PROCESSING = "processing"
    """A Generator or an Encoder works on it; `stage` says which step."""
    COMPLETED = "completed"
    """Its files are in the output store."""
    FAILED = "failed"
    """It ended without a video; `failure` says why."""
    CANCELED = "canceled"
    """A client canceled it."""
    EXPIRED = "expired"
    """It was completed, and its files were deleted because of their age."""
    DELETED = "deleted"
    """A client deleted it after it had ended; only the row remains."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.PROCESSING, State.FAILED, State.CANCELED}),
    State.PROCESSING: frozenset({State.QUEUED, State.COMPLETED, State.FAILED, State.CANCELED}),
    State.COMPLETED: frozenset({State.EXPIRED, State.DELETED}),
    State.FAILED: frozenset({State.QUEUED, State.DELETED}),  # requeued only by an operator
    State.CANCELED: frozenset({State.DELETED}),
    State.EXPIRED: frozenset({State.DELETED}),
    State.DELETED: frozenset(),
}
"""All allowed transitions. The store derives the condition of every write from this table."""

UNFINISHED = frozenset({State.QUEUED, State.PROCESSING})
TERMINAL = frozenset(TRANSITIONS) - UNFINISHED
"""The states of tasks that need no more work."""


def allowed_from(target: State) -> frozenset[State]:
    """The states from which a task may move to `target`."""
    return frozenset(state for state, following in TRANSITIONS.items() if target in following)


@dataclass(frozen=True)
class Idempotency:
    """A client's idempotency key, and a digest of the request that came with it."""

    key: str
    digest: str


@dataclass(frozen=True)
class RequestContext:
    """Identifies the HTTP request that submitted a task, for logs and traces."""

    request_id: str | None = None
    traceparent: str | None = None
    """The parent span of the task's spans, in the format of W3C Trace Context."""


@dataclass(frozen=True)
class NewTask:
    """A task as it is submitted."""

    request: VideoRequest
    model: str
    base_url: str
    input_key: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(TASK_ID_BYTES))
    idempotency: Idempotency | None = None
    owner: str = ANONYMOUS
    adjustments: tuple[Adjustment, ...] = ()
    context: RequestContext = RequestContext()
    source_task: str | None = None
    rendered_frames: int | None = None


@dataclass(frozen=True)
class Output:
    """The files of a completed task in the output store. `duration_s` and `size_bytes` are of the video."""

    key: str
    poster_key: str
    duration_s: float
    size_bytes: int


@dataclass(frozen=True)
class Failure:
    """Why a task failed, for the client. `retryable` says whether the same request may succeed later."""

    message: str
    code: str
    retryable: bool


@dataclass(frozen=True)
class Task:
    """One task row. Times are in seconds since the epoch.

    - `claim_token` is the fencing token: it rises whenever the task changes hands, and each write of a worker names it.
    - `attempts` counts the Generators that were lost during a run of this task.
    - `requeues` counts how often the task went back into the queue for a reason that it did not cause.
    - `owner` is the name of the API key that submitted the task.
    - `rendering_at` is when the model was ready and denoising began. It is later than `started_at` when the model had
      to be downloaded, loaded or woken.
    - `decoding_at` is when the last denoising step was done.
    - `source_task` is the id of the task whose video this one was made from. That task may be gone.
    - `rendered_frames` is how many frames of the result the model renders, if the task is an edit; None means all.
    - `preview_step` is the number of steps after which the newest preview was made; None without a preview.
    """

    id: str
    sequence: int
    state: State
    model: str
    request: VideoRequest
    base_url: str
    input_key: str | None
    claim_token: int
    attempts: int
    requeues: int
    stage: Stage | None
    step: int
    progress: float
    bytes_done: int
    bytes_total: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    output: Output | None
    failure: Failure | None
    adjustments: tuple[Adjustment, ...] = ()
    owner: str = ANONYMOUS
    context: RequestContext = RequestContext()
    rendering_at: float | None = None
    decoding_at: float | None = None
    source_task: str | None = None
    rendered_frames: int | None = None
    preview_step: int | None = None

    @property
    def rendered_request(self) -> VideoRequest:
        """The request as rendered, with the fields replaced that the model cannot use."""
        return apply_adjustments(self.request, self.adjustments)

    @property
    def rendered_part(self) -> VideoRequest:
        """The rendered request, as long as the part of the result that the model renders: what the work is counted by.

        Source of that part: `Edit.rendered`.
        """
        if self.rendered_frames is None:
            return self.rendered_request
        return self.rendered_request.model_copy(update={"num_frames": self.rendered_frames})

    @property
    def is_finished(self) -> bool:
        """Whether the task has ended: completed, failed, canceled, expired or deleted."""
        return self.state in TERMINAL


@dataclass(frozen=True)
class QueuePosition:
    """The position of a queued task: 1 is next.

    `own_rounds` is how many task durations it waits because its owner already runs `max_running` tasks.
    """

    position: int
    own_rounds: float = 0.0


@dataclass(frozen=True)
class QueueCounts:
    """The number of unfinished tasks of one model, and the age of the oldest queued one.

    The keys of `counts_by_stage` are `queued` and the stages. `oldest_queued_s` is in seconds; None without a queue.
    """

    counts_by_stage: Mapping[str, int]
    oldest_queued_s: float | None


@dataclass(frozen=True)
class Usage:
    """The runs of an owner's tasks on a UTC day (such as 2026-11-25), and the GPU seconds that they rendered."""

    owner: str
    day: str
    runs: int
    gpu_s: float


class ReplicaState(StrEnum):
    """The state of a Generator replica, also while it has no task."""

    UNLOADED = "unloaded"
    """No model is in memory."""
    DOWNLOADING = "downloading"
    """The weights are being downloaded."""
    LOADING = "loading"
    """The weights are being loaded into memory."""
    READY = "ready"
    """The model is ready to render."""
    SLEEPING = "sleeping"
    """The weights are in host memory and the GPU is free; the next task wakes the model."""
    FAILED = "failed"
    """The last load of the model failed; the next task tries again."""


@dataclass(frozen=True)
class GeneratorReplica:
    """The status of a Generator replica, from its last heartbeat.

    `free_vram_bytes` is the GPU memory that a render may use beside the loaded weights. None when the model is not
    loaded or nothing limits the memory, as on a CPU.
    """

    id: str
    model: str
    state: ReplicaState
    message: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    free_vram_bytes: int | None = None


@dataclass(frozen=True)
class ServedModel:
    """What is known about a model from its Generators. `profile` is None until one has loaded it since the app started.

    `free_vram_bytes` is the GPU memory that a render may use beside the weights, on the replica with the least. None
    when nothing limits it, as on a CPU.
    """

    name: str
    profile: CheckpointProfile | None = None
    free_vram_bytes: int | None = None

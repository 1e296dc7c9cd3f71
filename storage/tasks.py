"""A task: the row that is the only truth about one video, and the states it goes through."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.checkpoint.profile import CheckpointProfile
from models.progress import Stage
from models.request.adjustments import Adjustment, apply_adjustments
from models.request.request import VideoRequest

TASK_ID_BYTES = 16
"""128 random bits: a task id cannot be guessed. Without keys, knowing it is what gives access to the video."""
ANONYMOUS = ""
"""The owner of tasks that came without a key. No key has this name."""


class State(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    """Accepted; no Generator has started it."""
    PROCESSING = "processing"
    """A Generator or an Encoder works on it; `stage` says at what."""
    COMPLETED = "completed"
    """Its file is in the output store."""
    FAILED = "failed"
    """It ended without a file; `error` says why."""
    CANCELED = "canceled"
    """A client ended it."""
    EXPIRED = "expired"
    """It was completed, and its file has been removed because of its age."""
    DELETED = "deleted"
    """A client removed it after it had ended; the row alone remains."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.PROCESSING, State.FAILED, State.CANCELED}),
    State.PROCESSING: frozenset({State.QUEUED, State.COMPLETED, State.FAILED, State.CANCELED}),
    State.COMPLETED: frozenset({State.EXPIRED, State.DELETED}),
    State.FAILED: frozenset({State.QUEUED, State.DELETED}),  # back only by an operator's hand
    State.CANCELED: frozenset({State.DELETED}),
    State.EXPIRED: frozenset({State.DELETED}),
    State.DELETED: frozenset(),
}
"""All transitions there are. The store derives the condition of every write from this table."""

UNFINISHED = frozenset({State.QUEUED, State.PROCESSING})
TERMINAL = frozenset(TRANSITIONS) - UNFINISHED
"""The states of a task on which no work will be done any more."""


def allowed_from(target: State) -> frozenset[State]:
    """The states from which a task may come to `target`."""
    return frozenset(state for state, following in TRANSITIONS.items() if target in following)


@dataclass(frozen=True)
class Idempotency:
    """A client's key, and a digest of what it sent with it."""

    key: str
    digest: str


@dataclass(frozen=True)
class RequestContext:
    """The request that a task came with, as logs and traces name it."""

    request_id: str | None = None
    traceparent: str | None = None
    """The span that a task's own come under, as W3C's Trace Context writes it."""


@dataclass(frozen=True)
class NewTask:
    """What is known of a task when it is submitted."""

    request: VideoRequest
    model: str
    base_url: str
    input_key: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(TASK_ID_BYTES))
    idempotency: Idempotency | None = None
    owner: str = ANONYMOUS
    adjustments: tuple[Adjustment, ...] = ()
    context: RequestContext = RequestContext()


@dataclass(frozen=True)
class Output:
    """A finished file in the output store."""

    key: str
    poster_key: str
    duration_s: float
    size_bytes: int


@dataclass(frozen=True)
class Failure:
    """Why a task failed, for the client."""

    message: str
    code: str
    retryable: bool


@dataclass(frozen=True)
class Task:
    """One row.

    `claim` is the fencing token: it rises whenever the task changes hands, and every write by a worker names it.
    `attempts` counts the Generators that started it and were lost under it; `restarts` counts the times it went
    back for a reason that was not its own. `owner` is the name of the key that it came with. `rendering_at` is when the
    model was there and its work began, later than `started_at` by a download, a load or a wake. `decoding_at` is when
    its last step was done. Times are seconds since the epoch.
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

    @property
    def rendered_request(self) -> VideoRequest:
        """What is rendered: the request, with what the model cannot use replaced."""
        return apply_adjustments(self.request, self.adjustments)

    @property
    def is_finished(self) -> bool:
        """Whether the task has ended, one way or another."""
        return self.state in TERMINAL


@dataclass(frozen=True)
class QueuePosition:
    """Where a queued task stands: 1 is next.

    `own_rounds` says for how many lengths of a task it waits because its owner has no more than `max_running` at once.
    """

    position: int
    own_rounds: float = 0.0


@dataclass(frozen=True)
class QueueCounts:
    """The tasks of one model that have not ended: how many stand where, and how long the oldest in the queue waits.

    `places` is keyed by `queued` or the stage. `oldest_queued_s` is None where none is queued.
    """

    counts_by_stage: Mapping[str, int]
    oldest_queued_s: float | None


@dataclass(frozen=True)
class Usage:
    """How many runs of an owner's tasks ended on a day (of UTC, as 2026-11-25), and how long GPUs rendered for them."""

    owner: str
    day: str
    runs: int
    gpu_s: float


class ReplicaState(StrEnum):
    """What a Generator is doing when no task can tell."""

    UNLOADED = "unloaded"
    """No model in memory."""
    DOWNLOADING = "downloading"
    """The weights are fetched."""
    LOADING = "loading"
    """The weights are read into memory."""
    READY = "ready"
    """The model is in memory."""
    SLEEPING = "sleeping"
    """The weights wait in host memory and the GPU is free; the next task wakes them."""
    FAILED = "failed"
    """The last try to load the model failed; the next task tries again."""


@dataclass(frozen=True)
class GeneratorReplica:
    """A Generator, as it last described itself.

    `free_vram_bytes` is GPU memory for a render beside the weights, once it has loaded them; None where nothing bounds
    it.
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
    """What Generators learned that loaded a model. Without a profile, none has since the app started.

    `free_vram_bytes` is GPU memory for a render beside the weights, of the Generator that has least of it; None where
    nothing bounds it, as on a CPU.
    """

    name: str
    profile: CheckpointProfile | None = None
    free_vram_bytes: int | None = None

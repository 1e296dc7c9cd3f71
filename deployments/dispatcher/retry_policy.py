"""What to do when a task's run ends with an error."""

import time
from enum import StrEnum

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from models.errors import StorageFull, StoreUnavailable, TaskCanceled, VideoError
from models.progress import Stage
from storage.tasks import Failure, State, Task

MAX_ENCODES = 3
STORE_TIMEOUT_S = 300.0
"""So long a clip waits for an output store that is away. Meanwhile the Generator holds back: clips are bounded."""


class RetryDecision(StrEnum):
    """The ways on from an error."""

    IGNORE = "drop"
    """The task is somebody else's or has ended: nothing to do."""
    ENCODE_AGAIN = "encode again"
    """The Encoder was lost; the clip still stands in memory."""
    RETRY_COUNTED = "count attempt"
    """The Generator was lost under the task: run it again, a few times."""
    REQUEUE = "go back"
    """It was not the task's fault: back into the queue."""
    FAIL = "fail"
    """The task's own fault, or the model's."""


def unwrap_ray_error(error: BaseException) -> BaseException:
    """The error that the remote code raised, out of what Ray wrapped around it."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException) and error.cause is not error:
        error = error.cause
    if isinstance(error, RayServeException) and isinstance(error.__cause__, _REPLICA_LOST):
        return error.__cause__  # how Serve tells that the Generator died before the Encoder had its clip
    return error


class EncodeRetryBudget:
    """How often, and for how long, one clip may go to an Encoder again."""

    def __init__(self) -> None:
        self._lost = 0
        self._began_at = time.monotonic()

    def allow_retry(self, error: BaseException) -> bool:
        """Count one more try that ended with `error`, and say whether another may follow.

        A store that is away gets time to come back: what it cost to render is not thrown away for a few seconds. One
        that is full, or an Encoder that dies, gets a few tries.
        """
        if isinstance(error, StoreUnavailable) and not isinstance(error, StorageFull):
            return time.monotonic() - self._began_at < STORE_TIMEOUT_S
        self._lost += 1
        return self._lost < MAX_ENCODES


def decide_retry(error: BaseException, row: Task | None, *, may_encode_again: bool) -> RetryDecision:
    """Decide from the error, the row as it stands, and whether this clip may go to an Encoder once more."""
    if row is None or row.is_finished or isinstance(error, TaskCanceled):
        return RetryDecision.IGNORE
    if row.stage == Stage.ENCODING and may_encode_again and isinstance(error, _TRANSIENT_ERRORS):
        return RetryDecision.ENCODE_AGAIN
    if isinstance(error, StoreUnavailable):
        return RetryDecision.FAIL if row.stage == Stage.ENCODING else RetryDecision.REQUEUE
    if isinstance(error, _REPLICA_LOST) and row.state == State.PROCESSING:
        return RetryDecision.RETRY_COUNTED  # a task that waited at the replica was not what it died of
    return RetryDecision.REQUEUE if isinstance(error, RayError | RayServeException) else RetryDecision.FAIL


_REPLICA_LOST = (RayActorError, OutOfMemoryError)
"""The replica is gone: it died, or Ray ended it because its node ran out of memory."""
_TRANSIENT_ERRORS = (RayActorError, StoreUnavailable)
"""What may be over when the clip is encoded once more."""


def failure_from(error: BaseException) -> Failure:
    """What the client reads."""
    if isinstance(error, VideoError):
        return Failure(error.message, error.code, error.retryable)
    return Failure(f"the server met an error of its own: {type(error).__name__}: {error}", "internal_error", True)


def replica_lost_failure(error: BaseException, times: int) -> Failure:
    """What the client reads when each Generator that started the task died; `error` is how the last one did."""
    if isinstance(error, OutOfMemoryError):
        message = f"the server's main memory ran out while it was rendered, {times} times"
    else:
        message = f"the process that rendered it died {times} times, each time under this task"
    return Failure(message, "replica_lost", retryable=True)

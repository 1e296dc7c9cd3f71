"""Decides what happens to a task when its run ends with an error."""

import time
from enum import StrEnum

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from models.errors import StorageFull, StoreUnavailable, TaskCanceled, VideoError
from models.progress import Stage
from storage.tasks import Failure, State, Task

MAX_ENCODES = 3
STORE_TIMEOUT_S = 300.0
"""How long a clip waits for an output store that is away. The Generator pauses meanwhile: waiting clips are limited."""


class RetryDecision(StrEnum):
    """What to do with a task after an error."""

    IGNORE = "drop"
    """The task has ended or another Dispatcher has claimed it: nothing to do."""
    ENCODE_AGAIN = "encode again"
    """The Encoder was lost; the clip is still in the object store."""
    RETRY_COUNTED = "count attempt"
    """The Generator was lost during the run: run the task again and count the attempt."""
    REQUEUE = "go back"
    """The task did not cause the error: put it back into the queue without counting an attempt."""
    FAIL = "fail"
    """The task or the model caused the error: fail the task."""


def unwrap_ray_error(error: BaseException) -> BaseException:
    """The error that the remote code raised, without Ray's wrappers."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException) and error.cause is not error:
        error = error.cause
    if isinstance(error, RayServeException) and isinstance(error.__cause__, _REPLICA_LOST):
        return error.__cause__  # Serve raises this when the Generator died before the Encoder got its clip
    return error


class EncodeRetryBudget:
    """Limits how often, and for how long, one clip is encoded again."""

    def __init__(self) -> None:
        self._lost = 0
        self._began_at = time.monotonic()

    def allow_retry(self, error: BaseException) -> bool:
        """Count one failed try that ended with `error`. Returns whether another try may follow.

        A store that is away gets STORE_TIMEOUT_S to return, because the clip was expensive to render. A full store or
        a lost Encoder gets MAX_ENCODES tries.
        """
        if isinstance(error, StoreUnavailable) and not isinstance(error, StorageFull):
            return time.monotonic() - self._began_at < STORE_TIMEOUT_S
        self._lost += 1
        return self._lost < MAX_ENCODES


def decide_retry(error: BaseException, row: Task | None, *, may_encode_again: bool) -> RetryDecision:
    """Decide from the error, the current task row, and whether the clip's retry budget allows another encode."""
    if row is None or row.is_finished or isinstance(error, TaskCanceled):
        return RetryDecision.IGNORE
    if row.stage == Stage.ENCODING and may_encode_again and isinstance(error, _TRANSIENT_ERRORS):
        return RetryDecision.ENCODE_AGAIN
    if isinstance(error, StoreUnavailable):
        return RetryDecision.FAIL if row.stage == Stage.ENCODING else RetryDecision.REQUEUE
    if isinstance(error, _REPLICA_LOST) and row.state == State.PROCESSING:
        return RetryDecision.RETRY_COUNTED  # a task that still waits (queued) cannot have killed the replica
    return RetryDecision.REQUEUE if isinstance(error, RayError | RayServeException) else RetryDecision.FAIL


_REPLICA_LOST = (RayActorError, OutOfMemoryError)
"""The replica is gone: it died, or Ray killed it because its node ran out of memory."""
_TRANSIENT_ERRORS = (RayActorError, StoreUnavailable)
"""Errors that another encode of the same clip may not meet again."""


def failure_from(error: BaseException) -> Failure:
    """The failure that the client reads."""
    if isinstance(error, VideoError):
        return Failure(error.message, error.code, error.retryable)
    return Failure(f"the server met an error of its own: {type(error).__name__}: {error}", "internal_error", True)


def replica_lost_failure(error: BaseException, times: int) -> Failure:
    """The failure when every attempt lost its Generator. `error` is the last loss, `times` the number of attempts."""
    if isinstance(error, OutOfMemoryError):
        message = f"the server's main memory ran out while the task was rendered, {times} times"
    else:
        message = f"the process that rendered the task died {times} times"
    return Failure(message, "replica_lost", retryable=True)

"""The labels of the metrics, and the allowed values of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import DoesNotFit, IdempotencyKeyReused, InvalidRequest, QueueFull, TaskCanceled, VideoError
from models.progress import Stage
from models.timing.cold_start import Milestone
from models.timing.stages import TimedStage
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
END_NO_TASK = (InvalidRequest, IdempotencyKeyReused, QueueFull, TaskCanceled)
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
KIND = Label("kind", ("text", "image"))
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
DELIVERY = Label("outcome", (DELIVERED, TRIED_AGAIN, GIVEN_UP))
ROUTE = Label("route", bounds="the paths of the API as /openapi.json has them, or `unmatched`")
METHOD = Label("method", ("GET", "HEAD", "POST", "DELETE", "OPTIONS", OTHER))
STATUS = Label("status", bounds="the status codes that the API gives")

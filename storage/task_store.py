"""The task store: every way in which a row comes to be, changes hands and ends.

Each write by a worker is a compare-and-set on (task, claim) and returns whether it won. All methods block; call them
from a thread. All raise StoreUnavailable when the database does not answer.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from models.ltx2.options import FAST_GUIDANCE_FRACTION
from models.progress import Progress
from models.request.adjustments import Adjustment
from storage.db.engine import open_engine
from storage.fair_queue import Quota
from storage.sql.api_queries import ApiQueries
from storage.sql.claims import ClaimQueries
from storage.sql.dispatchers import DispatcherQueries
from storage.sql.pauses import PauseQueries
from storage.sql.positions import PositionQueries
from storage.sql.replicas import ReplicaQueries
from storage.sql.secrets import SecretQueries
from storage.sql.usage import UsageQueries
from storage.sql.webhooks import WebhookStatements
from storage.sql.workers import WorkerQueries
from storage.tasks import (
    Failure,
    GeneratorReplica,
    NewTask,
    Output,
    QueueCounts,
    QueuePosition,
    ServedModel,
    State,
    Task,
    Usage,
)
from storage.webhooks import WebhookStore


class TaskStore(WebhookStore, Protocol):
    """What the deployments ask of it."""

    def submit(self, new: NewTask, max_queued: int | None = None) -> Task:
        """Put a task into the queue, or find the one that its idempotency key stands for.

        Raises IdempotencyKeyReused, and QueueFull when `max_queued` tasks wait for its model, or as many of its
        owner's as may.
        """

    def check_queue_limit(self, new: NewTask, max_queued: int | None = None) -> Task | None:
        """Look at what `submit` would do now, without writing.

        Returns the task that its idempotency key stands for, if there is one. Raises what `submit` raises.
        """

    def get(self, task_id: str) -> Task | None:
        """Read one task."""

    def get_many(self, task_ids: Collection[str]) -> list[Task]:
        """Read several tasks, those that there are and that this version of the server can read."""

    def page(
        self,
        states: Collection[State],
        limit: int,
        beyond: int | None = None,
        *,
        oldest_first: bool = False,
        owner: str | None = None,
    ) -> list[Task]:
        """Read the newest tasks in these states, or the oldest, of those that come after the sequence `beyond`.

        With `owner`, only that one's. What this version of the server cannot read is left out.
        """

    def queue_position(self, task: Task) -> QueuePosition:
        """Count the tasks that are claimed before this queued task, by the owners' future virtual times."""

    def queue_positions(self, queued: Collection[Task]) -> dict[str, QueuePosition]:
        """The same for tasks between which no other of their owners is queued, by their ids."""

    def counts(self) -> dict[State, int]:
        """Count the tasks that have not ended, by state."""

    def claim(self, dispatcher: str, model: str, limit: int, lease_s: float) -> list[Task]:
        """Take queued tasks of `model` for `dispatcher`. They read as queued until they are started.

        The owners take virtual_times by their weights, and of each one the oldest tasks go first.
        """

    def count_queue(self, model: str) -> QueueCounts:
        """Count the tasks of `model` that have not ended."""

    def renew_leases(self, dispatcher: str, lease_s: float) -> None:
        """Hold on to everything that `dispatcher` has claimed, for another `lease_s`."""

    def list_dispatchers(self) -> list[str]:
        """Name the dispatchers that hold tasks."""

    def reclaim(self, dead: Collection[str]) -> list[Task]:
        """Put back to the queue what the `dead` dispatchers held, and what was held past its lease."""

    def start_run(self, task: Task) -> bool:
        """A Generator takes the task: it is processing from now."""

    def report_progress(self, task: Task, progress: Progress) -> bool:
        """Write down how far it is."""

    def record_adjustments(self, task: Task, adjustments: Collection[Adjustment]) -> bool:
        """Write down what of its request is rendered otherwise, in place of what stood there."""

    def owns_task(self, task: Task) -> bool:
        """Ask whether the task still belongs to this claim, without writing."""

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:
        """Put a claimed task back into the queue, in its old place."""

    def retry(self, task_id: str) -> bool:
        """Put a failed task back into the queue as if it were new, unless its picture is gone."""

    def complete(self, task: Task, output: Output) -> bool:
        """End it with its file."""

    def fail(self, task: Task, failure: Failure) -> bool:
        """End it without one."""

    def fail_unserved(self, model: str, older_than_s: float, limit: int = 200) -> list[Task]:
        """Fail queued tasks that were accepted so long ago for a model that nobody has served since; `model` is served.

        So a server that restarts finds its queue. At most `limit` of each model; if it ends so many, there may be more.
        """

    def fail_overdue(self, limit: int = 200) -> list[Task]:
        """Fail what is not done by its deadline, `limit` at most. Whoever works on it learns so at the next report."""

    def cancel(self, task_id: str) -> bool:
        """End it because a client said so. Whoever works on it learns so at the next report."""

    def delete(self, task_id: str) -> bool:
        """Leave nothing but the row of a task that has ended. Its files are the caller's to remove."""

    def pause(self) -> bool:
        """Let nobody claim until `resume`, and take back what no Generator has started. False if it was paused."""

    def resume(self) -> bool:
        """Let tasks be claimed again. False if it was not paused."""

    def paused_at(self) -> float | None:
        """Since when claims are paused, in seconds since the epoch; None while they are not."""

    def put_replica(self, replica: GeneratorReplica) -> None:
        """Write down what a Generator is doing."""

    def delete_replica(self, replica_id: str) -> None:
        """Forget a Generator."""

    def live_replicas(self) -> list[GeneratorReplica]:
        """The Generators that wrote lately."""

    def record_model(self, model: ServedModel) -> None:
        """Note that this database serves `model`, and what its Generator learned of it.

        Of room, the least is kept: its own, or that of another that lives.
        """

    def served_model(self, name: str) -> ServedModel:
        """What is known of a model. Room is the least of the Generators that live, or of the last that did."""

    def delete_model_info(self) -> None:
        """Forget what Generators learned of models, but not that they were served."""

    def last_real_model(self) -> str | None:
        """The model other than the tiny one that this database served last."""

    def add_usage(self, owner: str, gpu_s: float, runs: int = 1) -> None:
        """Count runs that have begun, and how long Generators have rendered for an owner."""

    def usage(self, owner: str | None = None) -> list[Usage]:
        """What was counted, day by day; with `owner`, only for that one."""

    def shared_secret(self, name: str) -> bytes:
        """32 random bytes, the same for every process on this database. Made when they are first asked for."""


class SqlTaskStore(
    ApiQueries,
    PositionQueries,
    ClaimQueries,
    DispatcherQueries,
    WorkerQueries,
    UsageQueries,
    PauseQueries,
    ReplicaQueries,
    SecretQueries,
    WebhookStatements,
):
    """The task store on SQLite or PostgreSQL."""

    @classmethod
    def open(
        cls,
        url: str,
        on_end: Callable[[Task], None] | None = None,
        quotas: Mapping[str, Quota] | None = None,
        fast_guidance_fraction: float = FAST_GUIDANCE_FRACTION,
    ) -> "SqlTaskStore":
        """Open the database at `url`. Its tables must be there (`storage.db.engine.migrate`)."""
        return cls(open_engine(url), on_end, quotas, fast_guidance_fraction)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

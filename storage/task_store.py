"""The task store: all operations that create, claim, change and end task rows.

Each write of a worker is a compare-and-set on (task, claim token) and returns whether it succeeded. All methods block,
so call them from a thread. All raise StoreUnavailable when the database does not answer.
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
    """The operations that the deployments use."""

    def submit(self, new: NewTask, max_queued: int | None = None) -> Task:
        """Queue a task, or return the task of its idempotency key.

        Raises IdempotencyKeyReused. Raises QueueFull when `max_queued` tasks wait for its model, or the owner's maximum
        of tasks does.
        """

    def check_queue_limit(self, new: NewTask, max_queued: int | None = None) -> Task | None:
        """Check what `submit` would do now, without writing.

        Returns the task of the idempotency key, if there is one. Raises the errors of `submit`.
        """

    def get(self, task_id: str) -> Task | None:
        """Read one task. None when it does not exist."""

    def get_many(self, task_ids: Collection[str]) -> list[Task]:
        """Read several tasks. Leaves out missing ones, and those that this version of the server cannot read."""

    def page(
        self,
        states: Collection[State],
        limit: int,
        beyond: int | None = None,
        *,
        oldest_first: bool = False,
        owner: str | None = None,
    ) -> list[Task]:
        """Read the newest tasks in these states, or the oldest ones, that come after the sequence number `beyond`.

        With `owner`, only tasks of that owner. Leaves out tasks that this version of the server cannot read.
        """

    def queue_position(self, task: Task) -> QueuePosition:
        """Count the tasks that will be claimed before this queued task, by the owners' future virtual times."""

    def queue_positions(self, queued: Collection[Task]) -> dict[str, QueuePosition]:
        """The positions of several tasks, by task id.

        If two of them have one owner, all queued tasks of that owner between the two must be included.
        """

    def counts(self) -> dict[State, int]:
        """Count the unfinished tasks by state."""

    def claim(self, dispatcher: str, model: str, limit: int, lease_s: float) -> list[Task]:
        """Claim queued tasks of `model` for `dispatcher`. Their state stays queued until their runs start.

        Owners take turns by their weights. The oldest task of an owner goes first.
        """

    def count_queue(self, model: str) -> QueueCounts:
        """Count the unfinished tasks of `model`."""

    def renew_leases(self, dispatcher: str, lease_s: float) -> None:
        """Extend the leases of all tasks that `dispatcher` has claimed to `lease_s` from now."""

    def list_dispatchers(self) -> list[str]:
        """The names of the Dispatchers that hold tasks."""

    def reclaim(self, dead: Collection[str]) -> list[Task]:
        """Requeue the tasks of the `dead` Dispatchers, and all tasks whose lease has lapsed. Returns them."""

    def start_run(self, task: Task) -> bool:
        """Mark a claimed task as processing: its Generator starts the run."""

    def report_progress(self, task: Task, progress: Progress) -> bool:
        """Write the progress of a run."""

    def record_adjustments(self, task: Task, adjustments: Collection[Adjustment]) -> bool:
        """Write the adjustments of the request, which replace the earlier ones."""

    def owns_task(self, task: Task) -> bool:
        """Whether the task still belongs to this claim. Does not write."""

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:
        """Put a claimed task back into the queue, at its old position."""

    def retry(self, task_id: str) -> bool:
        """Put a failed task back into the queue as a new one. False when it has not failed or had an input image."""

    def complete(self, task: Task, output: Output) -> bool:
        """Complete the task with its output files."""

    def fail(self, task: Task, failure: Failure) -> bool:
        """Fail the task."""

    def fail_unserved(self, model: str, older_than_s: float, limit: int = 200) -> list[Task]:
        """Fail tasks queued for longer than `older_than_s` whose model no server has served since. `model` is served.

        The delay keeps the queue during a restart. Fails at most `limit` tasks of each model; if it fails that many,
        there may be more.
        """

    def fail_overdue(self, limit: int = 200) -> list[Task]:
        """Fail at most `limit` tasks that are past their deadlines. Their workers find out at the next report."""

    def cancel(self, task_id: str) -> bool:
        """Cancel an unfinished task. Its worker finds out at the next report."""

    def delete(self, task_id: str) -> bool:
        """Mark an ended task as deleted. The row stays; the caller deletes the files."""

    def pause(self) -> bool:
        """Stop all claims until `resume`, and requeue tasks whose runs have not started. False if already paused."""

    def resume(self) -> bool:
        """Allow claims again. False if they were not paused."""

    def paused_at(self) -> float | None:
        """When claims were paused, in seconds since the epoch. None while they are not paused."""

    def put_replica(self, replica: GeneratorReplica) -> None:
        """Write the status of a Generator replica."""

    def delete_replica(self, replica_id: str) -> None:
        """Delete the row of a Generator replica, and those of replicas that died."""

    def live_replicas(self) -> list[GeneratorReplica]:
        """The Generator replicas with a recent heartbeat."""

    def record_model(self, model: ServedModel) -> None:
        """Record that this database serves `model`, with its profile and free GPU memory.

        The smallest free memory is kept: this one, or that of another live replica.
        """

    def served_model(self, name: str) -> ServedModel:
        """What is known about a model. Free memory is the smallest of the live replicas, or else of the last one."""

    def delete_model_info(self) -> None:
        """Delete the profiles and free memory of all models. The record that they were served stays."""

    def last_real_model(self) -> str | None:
        """The real model, not the tiny one, that this database served last. None if it never served one."""

    def add_usage(self, owner: str, gpu_s: float, runs: int = 1) -> None:
        """Add started runs and GPU seconds to the usage of an owner."""

    def usage(self, owner: str | None = None) -> list[Usage]:
        """The usage by owner and UTC day; with `owner`, only of that owner."""

    def shared_secret(self, name: str) -> bytes:
        """32 random bytes, the same for every process on this database. Created at the first call."""


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
        """Open the database at `url`. The tables must exist (`storage.db.engine.migrate`)."""
        return cls(open_engine(url), on_end, quotas, fast_guidance_fraction)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

"""The task store: every way in which a row comes to be, changes hands and ends.

Each write by a worker is a compare-and-set on (task, claim) and returns whether it won. All methods block; call them
from a thread. All raise StoreUnavailable when the database does not answer.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from sqlalchemy import (
    CompoundSelect,
    Engine,
    Row,
    Select,
    Update,
    case,
    delete,
    extract,
    func,
    insert,
    literal,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from models.adjustments import Adjustment
from models.names import TINY_MODEL_NAME
from models.progress import Progress, Stage
from storage.admission import check_room, task_of_key
from storage.database import answering, is_sqlite, open_engine, storable
from storage.rows import adjusted_value, new_row, read_replica, read_task
from storage.schema import replicas, served_models, tasks
from storage.tasks import UNFINISHED, Failure, NewTask, Output, Replica, State, Task, sources

REPLICA_EXPIRY_S = 20.0
"""A replica that has not written for so long is taken for dead; it writes every few seconds."""


class TaskStore(Protocol):
    """What the deployments ask of it."""

    def submit(self, new: NewTask, max_queued: int | None = None) -> Task:
        """Put a task into the queue, or find the one that its idempotency key stands for.

        Raises IdempotencyKeyReused, and QueueFull when `max_queued` tasks wait.
        """

    def get(self, task_id: str) -> Task | None:
        """Read one task."""

    def get_many(self, task_ids: Collection[str]) -> list[Task]:
        """Read several tasks, those that there are."""

    def page(
        self, states: Collection[State], limit: int, beyond: int | None = None, *, oldest_first: bool = False
    ) -> list[Task]:
        """Read the newest tasks in these states, or the oldest, of those that come after the sequence `beyond`."""

    def queue_position(self, task: Task) -> int:
        """Count the queued tasks up to this one: 1 is next."""

    def counts(self) -> dict[State, int]:
        """Count the tasks that have not ended, by state."""

    def claim(self, dispatcher: str, model: str, limit: int, lease_s: float) -> list[Task]:
        """Take the oldest queued tasks of `model` for `dispatcher`. They read as queued until they are started."""

    def renew(self, dispatcher: str, lease_s: float) -> None:
        """Hold on to everything that `dispatcher` has claimed, for another `lease_s`."""

    def claimants(self) -> list[str]:
        """Name the dispatchers that hold tasks."""

    def reclaim(self, dead: Collection[str]) -> list[Task]:
        """Put back to the queue what the `dead` dispatchers held, and what was held past its lease."""

    def start(self, task: Task) -> bool:
        """A Generator takes the task: it is processing from now."""

    def report(self, task: Task, progress: Progress) -> bool:
        """Write down how far it is."""

    def adjust(self, task: Task, adjustments: Collection[Adjustment]) -> bool:
        """Write down what of its request is rendered otherwise, in place of what stood there."""

    def owns(self, task: Task) -> bool:
        """Ask whether the task still belongs to this claim, without writing."""

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:
        """Put a claimed task back into the queue, in its old place."""

    def retry(self, task_id: str) -> bool:
        """Put a failed task back into the queue as if it were new, unless its picture is gone."""

    def complete(self, task: Task, output: Output) -> bool:
        """End it with its file."""

    def fail(self, task: Task, failure: Failure) -> bool:
        """End it without one."""

    def fail_unserved(self, model: str, older_than_s: float) -> list[Task]:
        """Fail queued tasks that were accepted for a model other than `model` so long ago."""

    def fail_overdue(self) -> list[Task]:
        """Fail what is not done by its deadline. Whoever works on it learns so at the next report."""

    def cancel(self, task_id: str) -> bool:
        """End it because a client said so. Whoever works on it learns so at the next report."""

    def delete(self, task_id: str) -> bool:
        """Leave nothing but the row of a task that has ended. Its files are the caller's to remove."""

    def put_replica(self, replica: Replica) -> None:
        """Write down what a Generator is doing."""

    def drop_replica(self, replica_id: str) -> None:
        """Forget a Generator."""

    def live_replicas(self) -> list[Replica]:
        """The Generators that wrote lately."""

    def remember_model(self, model: str) -> None:
        """Note that this database has served `model`."""

    def last_real_model(self) -> str | None:
        """The model other than the tiny one that this database served last."""


class SqlTaskStore:
    """The task store on SQLite or PostgreSQL, by SQLAlchemy Core."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def open(cls, url: str) -> "SqlTaskStore":
        """Open the database at `url`. Its tables must be there (`storage.database.migrate`)."""
        return cls(open_engine(url))

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    # -- the client's side

    def submit(self, new: NewTask, max_queued: int | None = None) -> Task:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            if new.idempotency and (known := task_of_key(connection, new.idempotency, new.id)) != new.id:
                return read_task(connection.execute(select(tasks).where(tasks.c.id == known)).one())
            if max_queued is not None:
                check_room(connection, max_queued)
            return read_task(connection.execute(insert(tasks).values(new_row(new)).returning(tasks)).one())

    def get(self, task_id: str) -> Task | None:  # noqa: D102
        found = self.get_many([task_id])
        return found[0] if found else None

    def get_many(self, task_ids: Collection[str]) -> list[Task]:  # noqa: D102
        ids = [task_id for task_id in task_ids if task_id == storable(task_id)]
        return [read_task(row) for row in self._read(select(tasks).where(tasks.c.id.in_(ids)))]

    def page(  # noqa: D102
        self, states: Collection[State], limit: int, beyond: int | None = None, *, oldest_first: bool = False
    ) -> list[Task]:
        sequence = tasks.c.sequence
        following: ColumnElement[bool] = true()
        if beyond is not None:
            following = sequence > beyond if oldest_first else sequence < beyond
        walks = [  # one walk down the index for each state: a state with few tasks costs no scan of all the others
            select(
                select(tasks)
                .where(tasks.c.state == state, following)
                .order_by(sequence if oldest_first else sequence.desc())
                .limit(limit)
                .subquery()
            )
            for state in sorted(states)
        ]
        found = [read_task(row) for row in self._read(union_all(*walks))] if walks else []
        return sorted(found, key=lambda task: task.sequence, reverse=not oldest_first)[:limit]

    def queue_position(self, task: Task) -> int:  # noqa: D102
        ahead = select(func.count().label("count")).where(
            tasks.c.state == State.QUEUED, tasks.c.sequence < task.sequence
        )
        return self._number(ahead) + 1

    def counts(self) -> dict[State, int]:  # noqa: D102
        query = (
            select(tasks.c.state, func.count().label("number"))
            .where(tasks.c.state.in_(UNFINISHED))
            .group_by(tasks.c.state)
        )
        return dict.fromkeys(sorted(UNFINISHED), 0) | {State(row.state): row.number for row in self._read(query)}

    def cancel(self, task_id: str) -> bool:  # noqa: D102
        return self._move(State.CANCELED, tasks.c.id == storable(task_id))

    def delete(self, task_id: str) -> bool:  # noqa: D102
        ended = tasks.c.state.in_(sources(State.DELETED))
        gone = update(tasks).where(tasks.c.id == storable(task_id), ended).values(state=State.DELETED)
        return bool(self._write(gone))

    # -- the dispatcher's side

    def claim(self, dispatcher: str, model: str, limit: int, lease_s: float) -> list[Task]:  # noqa: D102
        oldest = (
            select(tasks.c.sequence)
            .where(tasks.c.state == State.QUEUED, tasks.c.dispatcher.is_(None), tasks.c.model == model)
            .order_by(tasks.c.sequence)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("oldest")
            .prefix_with("MATERIALIZED")  # a plain subquery may run once a row, and claim more than `limit`
        )
        claimed = self._write(
            update(tasks)
            .where(tasks.c.sequence.in_(select(oldest.c.sequence)))
            .values(dispatcher=dispatcher, claim=tasks.c.claim + 1, lease_until=self._now() + lease_s)
        )
        return sorted(claimed, key=lambda task: task.sequence)

    def renew(self, dispatcher: str, lease_s: float) -> None:  # noqa: D102
        mine = update(tasks).where(tasks.c.dispatcher == dispatcher, _UNENDED)
        self._write(mine.values(lease_until=self._now() + lease_s))

    def claimants(self) -> list[str]:  # noqa: D102
        held = tasks.c.dispatcher.is_not(None) & _UNENDED
        return [row[0] for row in self._read(select(tasks.c.dispatcher).where(held).distinct())]

    def reclaim(self, dead: Collection[str]) -> list[Task]:  # noqa: D102
        lost = tasks.c.dispatcher.in_(dead) | (tasks.c.lease_until < self._now())
        return self._write(
            update(tasks)
            .where(_UNENDED, tasks.c.dispatcher.is_not(None), lost)
            .values(**_BACK_IN_QUEUE, restarts=tasks.c.restarts + 1)
        )

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:  # noqa: D102
        counted = "attempts" if attempt_lost else "restarts"
        back = {**_BACK_IN_QUEUE, counted: tasks.c[counted] + 1}
        return bool(self._write(update(tasks).where(_held(task)).values(back)))

    def retry(self, task_id: str) -> bool:  # noqa: D102
        anew = {key: value for key, value in _BACK_IN_QUEUE.items() if key != "state"}
        nothing_failed = {"attempts": 0, "restarts": 0, "finished_at": None, "deadline_at": None, **_NO_FAILURE}
        without_picture = (tasks.c.id == task_id) & (tasks.c.state == State.FAILED) & tasks.c.input_key.is_(None)
        return self._move(State.QUEUED, without_picture, **anew, **nothing_failed)

    def fail(self, task: Task, failure: Failure) -> bool:  # noqa: D102
        return self._move(State.FAILED, _held(task), **_failure_values(failure))

    def fail_unserved(self, model: str, older_than_s: float) -> list[Task]:  # noqa: D102
        orphaned = (
            (tasks.c.state == State.QUEUED)
            & (tasks.c.model != model)
            & tasks.c.dispatcher.is_(None)
            & (tasks.c.created_at < time.time() - older_than_s)
        )
        failure = Failure(
            f"it was accepted for a model that is no longer served here (this server has {model}); submit it again",
            "model_not_served",
            retryable=True,
        )
        return self._write(update(tasks).where(orphaned).values(**_ended(State.FAILED), **_failure_values(failure)))

    def fail_overdue(self) -> list[Task]:  # noqa: D102
        downloading = tasks.c.stage.is_not_distinct_from(Stage.DOWNLOADING)
        due = _UNENDED & (tasks.c.deadline_at < time.time()) & ~downloading
        if not self._read(select(literal(1)).where(due).limit(1)):
            return []  # asked every second: a look costs less than a write
        failure = Failure("it was not done within its timeout_s", "timeout", retryable=True)
        return self._write(update(tasks).where(due).values(**_ended(State.FAILED), **_failure_values(failure)))

    # -- the workers' side

    def start(self, task: Task) -> bool:  # noqa: D102
        values = {"stage": Stage.STARTING, "started_at": time.time(), "finished_at": None}
        return self._move(State.PROCESSING, _held(task), **values)

    def report(self, task: Task, progress: Progress) -> bool:  # noqa: D102
        fraction = progress.fraction(task.rendered_request.num_inference_steps)
        values = {
            "stage": progress.stage,
            "step": progress.step,
            "bytes_done": progress.bytes_done,
            "bytes_total": progress.bytes_total,
            # A download may find more files, and a report may be overtaken: what a client saw does not fall.
            "progress": case((tasks.c.progress > fraction, tasks.c.progress), else_=fraction),
        }
        if progress.stage != Stage.DOWNLOADING:
            values["deadline_at"] = _deadline_after_download()
        mine = _held(task) & (tasks.c.state == State.PROCESSING)
        return bool(self._write(update(tasks).where(mine).values(values)))

    def adjust(self, task: Task, adjustments: Collection[Adjustment]) -> bool:  # noqa: D102
        return bool(self._write(update(tasks).where(_held(task)).values(adjusted=adjusted_value(adjustments))))

    def owns(self, task: Task) -> bool:  # noqa: D102
        return bool(self._read(select(literal(1)).where(_held(task), tasks.c.state == State.PROCESSING)))

    def complete(self, task: Task, output: Output) -> bool:  # noqa: D102
        values = {
            "output_key": output.key,
            "poster_key": output.poster_key,
            "duration_s": output.duration_s,
            "size_bytes": output.size_bytes,
            "progress": 1.0,
        }
        return self._move(State.COMPLETED, _held(task), **values)

    # -- the Generators and the models

    def put_replica(self, replica: Replica) -> None:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            connection.execute(delete(replicas).where(replicas.c.id == replica.id))
            written = asdict(replica) | {"message": storable(replica.message), "updated_at": time.time()}
            connection.execute(insert(replicas).values(written))

    def drop_replica(self, replica_id: str) -> None:  # noqa: D102
        long_gone = replicas.c.updated_at < time.time() - REPLICA_EXPIRY_S
        with answering(), self._engine.begin() as connection:
            connection.execute(delete(replicas).where((replicas.c.id == replica_id) | long_gone))

    def live_replicas(self) -> list[Replica]:  # noqa: D102
        lately = replicas.c.updated_at > time.time() - REPLICA_EXPIRY_S
        return [read_replica(row) for row in self._read(select(replicas).where(lately))]

    def remember_model(self, model: str) -> None:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            connection.execute(delete(served_models).where(served_models.c.model == model))
            connection.execute(insert(served_models).values(model=model, served_at=time.time()))

    def last_real_model(self) -> str | None:  # noqa: D102
        real = select(served_models.c.model).where(served_models.c.model != TINY_MODEL_NAME)
        found = self._read(real.order_by(served_models.c.served_at.desc()).limit(1))
        return str(found[0].model) if found else None

    # -- how they are done

    def _now(self) -> ColumnElement[Any]:
        """The clock of leases: the database's own, so that hosts need not agree, or this host's for a file."""
        if is_sqlite(self._engine):
            return literal(time.monotonic())
        return extract("epoch", func.clock_timestamp())

    def _read(self, query: Select[Any] | CompoundSelect[Any]) -> Sequence[Row[Any]]:
        with answering(), self._reader.connect() as connection:
            return connection.execute(query).all()

    def _number(self, query: Select[Any]) -> int:
        with answering(), self._reader.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def _write(self, statement: Update) -> list[Task]:
        with answering(), self._engine.begin() as connection:
            return [read_task(row) for row in connection.execute(statement.returning(tasks))]

    def _move(self, target: State, condition: ColumnElement[bool], **values: Any) -> bool:
        """Bring a task into another state, if the table of transitions allows it from where it is."""
        if target not in UNFINISHED:
            values |= _ended(target)
        allowed = tasks.c.state.in_(sources(target))
        return bool(self._write(update(tasks).where(condition, allowed).values({"state": target, **values})))


_UNENDED = tasks.c.finished_at.is_(None)
"""Says the same as the unfinished states, and leaves the planner free to take the index of what is held or due."""

_BACK_IN_QUEUE: dict[str, Any] = {
    "state": State.QUEUED,
    "dispatcher": None,
    "lease_until": None,
    "claim": tasks.c.claim + 1,
    "stage": None,
    "step": 0,
    "progress": 0.0,
    "bytes_done": 0,
    "bytes_total": 0,
    "started_at": None,
}


def _held(task: Task) -> ColumnElement[bool]:
    """The row of `task`, while it belongs to the claim that `task` was read with."""
    return (tasks.c.id == task.id) & (tasks.c.claim == task.claim) & tasks.c.state.in_(UNFINISHED)


_NO_FAILURE: dict[str, Any] = {"error": None, "error_code": None, "retryable": None}


def _ended(state: State) -> dict[str, Any]:
    return {"state": state, "finished_at": time.time(), "stage": None, "dispatcher": None, "lease_until": None}


def _deadline_after_download() -> ColumnElement[Any]:
    """The deadline, later by the time from the start to the end of a download that ends now."""
    downloading = tasks.c.stage.is_not_distinct_from(Stage.DOWNLOADING)
    later = tasks.c.deadline_at + (time.time() - tasks.c.started_at)
    return case((downloading, later), else_=tasks.c.deadline_at)


def _failure_values(failure: Failure) -> dict[str, Any]:
    return {"error": storable(failure.message), "error_code": failure.code, "retryable": failure.retryable}

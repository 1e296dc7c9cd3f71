"""What a Dispatcher asks: who holds a task, and how it ends when no worker can say so."""

import time
from collections.abc import Collection

from sqlalchemy import case, func, literal, select, update

from models.progress import Stage
from storage.database import storable
from storage.schema import tasks
from storage.sql.statements import BACK_IN_QUEUE, NO_FAILURE, UNENDED, Statements, ended, failure_values, held
from storage.tasks import UNFINISHED, Census, Failure, State, Task


class DispatcherStatements(Statements):
    """Leases, ways back into the queue, failures."""

    def census(self, model: str) -> Census:  # noqa: D102
        stage = case((tasks.c.state == State.QUEUED, State.QUEUED.value), else_=tasks.c.stage).label("place")
        query = (
            select(stage, func.count().label("number"), func.min(tasks.c.created_at).label("oldest_at"))
            .where(tasks.c.state.in_(UNFINISHED), tasks.c.model == model)
            .group_by(stage)
        )
        rows = self._read(query)
        oldest = next((row.oldest_at for row in rows if row.place == State.QUEUED), None)
        return Census({row.place: row.number for row in rows}, None if oldest is None else time.time() - oldest)

    def renew(self, dispatcher: str, lease_s: float) -> None:  # noqa: D102
        mine = update(tasks).where(tasks.c.dispatcher == dispatcher, UNENDED)
        self._write(mine.values(lease_until=self._now() + lease_s))

    def claimants(self) -> list[str]:  # noqa: D102
        held = tasks.c.dispatcher.is_not(None) & UNENDED
        return [row[0] for row in self._read(select(tasks.c.dispatcher).where(held).distinct())]

    def reclaim(self, dead: Collection[str]) -> list[Task]:  # noqa: D102
        lost = tasks.c.dispatcher.in_(dead) | (tasks.c.lease_until < self._now())
        return self._write(
            update(tasks)
            .where(UNENDED, tasks.c.dispatcher.is_not(None), lost)
            .values(**BACK_IN_QUEUE, restarts=tasks.c.restarts + 1)
        )

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:  # noqa: D102
        counted = "attempts" if attempt_lost else "restarts"
        back = {**BACK_IN_QUEUE, counted: tasks.c[counted] + 1}
        return bool(self._write(update(tasks).where(held(task)).values(back)))

    def retry(self, task_id: str) -> bool:  # noqa: D102
        anew = {key: value for key, value in BACK_IN_QUEUE.items() if key != "state"}
        nothing_failed = {"attempts": 0, "restarts": 0, "finished_at": None, "deadline_at": None, **NO_FAILURE}
        failed = (tasks.c.id == storable(task_id)) & (tasks.c.state == State.FAILED)
        return self._move(State.QUEUED, failed & tasks.c.input_key.is_(None), **anew, **nothing_failed)

    def fail(self, task: Task, failure: Failure) -> bool:  # noqa: D102
        return self._move(State.FAILED, held(task), **failure_values(failure))

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
        return self._end(update(tasks).where(orphaned).values(**ended(State.FAILED), **failure_values(failure)))

    def fail_overdue(self) -> list[Task]:  # noqa: D102
        downloading = tasks.c.stage.is_not_distinct_from(Stage.DOWNLOADING)
        due = UNENDED & (tasks.c.deadline_at < time.time()) & ~downloading
        if not self._read(select(literal(1)).where(due).limit(1)):
            return []  # asked every second: a look costs less than a write
        failure = Failure("it was not done within its timeout_s", "timeout", retryable=True)
        return self._end(update(tasks).where(due).values(**ended(State.FAILED), **failure_values(failure)))

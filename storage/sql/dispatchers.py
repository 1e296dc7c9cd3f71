"""Queries of the Dispatcher: leases, requeues, and failures that no worker reports."""

import time
from collections.abc import Collection

from sqlalchemy import and_, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from models.progress import Stage
from storage.db.engine import sanitize_text
from storage.db.schema import IN_QUEUE, dispatchers, tasks
from storage.sql.base import (
    NO_FAILURE,
    REQUEUED_VALUES,
    UNFINISHED_ROWS,
    SqlStore,
    deadline_after_download,
    end_values,
    failure_values,
    owned_by,
)
from storage.sql.dialect import lock_free_rows
from storage.sql.index_scans import oldest_by_owner, queued_models
from storage.tasks import Failure, QueueCounts, State, Task


class DispatcherQueries(SqlStore):
    """Renews leases, requeues tasks and fails tasks."""

    def count_queue(self, model: str) -> QueueCounts:
        """Count the unfinished tasks of `model`."""
        waiting_for_it = select(func.count()).where(IN_QUEUE, tasks.c.model == model)
        stages = (
            select(tasks.c.stage, func.count().label("number"))
            .where(tasks.c.state == State.PROCESSING, tasks.c.model == model)
            .group_by(tasks.c.stage)
        )
        places = {str(row.stage): int(row.number) for row in self._read(stages)}
        if queued := self._count(waiting_for_it):
            places[State.QUEUED.value] = queued
        return QueueCounts(places, self._oldest_queued_s(model) if queued else None)

    def _oldest_queued_s(self, model: str) -> float | None:
        oldest = [row.oldest for row in self._read(oldest_by_owner(self._scans, model))]
        found = self._read(select(tasks.c.created_at).where(tasks.c.sequence == min(oldest))) if oldest else []
        return time.time() - found[0].created_at if found else None

    def renew_leases(self, dispatcher: str, lease_s: float) -> None:
        """Extend the leases of all tasks that `dispatcher` has claimed to `lease_s` from now."""
        mine = update(tasks).where(tasks.c.dispatcher == dispatcher, UNFINISHED_ROWS)
        self._write(mine.values(lease_until=self._now() + lease_s))

    def list_dispatchers(self) -> list[str]:
        """The names of the Dispatchers that hold tasks."""
        held = tasks.c.dispatcher.is_not(None) & UNFINISHED_ROWS
        return [row[0] for row in self._read(select(tasks.c.dispatcher).where(held).distinct())]

    def reclaim(self, dead: Collection[str]) -> list[Task]:
        """Requeue the tasks of the `dead` Dispatchers, and all tasks whose lease has lapsed. Returns them."""
        lost = tasks.c.dispatcher.in_(dead) | (tasks.c.lease_until < self._now())
        return self._write(
            update(tasks)
            .where(UNFINISHED_ROWS, tasks.c.dispatcher.is_not(None), lost)
            .values(**REQUEUED_VALUES, deadline_at=deadline_after_download(), requeues=tasks.c.requeues + 1)
        )

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:
        """Put a claimed task back into the queue, at its old position."""
        counted = "attempts" if attempt_lost else "requeues"
        back = {**REQUEUED_VALUES, "deadline_at": deadline_after_download(), counted: tasks.c[counted] + 1}
        return bool(self._write(update(tasks).where(owned_by(task)).values(back)))

    def retry(self, task_id: str) -> bool:
        """Put a failed task back into the queue as a new one. False when it has not failed or had an input image."""
        anew = {key: value for key, value in REQUEUED_VALUES.items() if key != "state"}
        nothing_failed = {"attempts": 0, "requeues": 0, "finished_at": None, "deadline_at": None, **NO_FAILURE}
        failed = (tasks.c.id == sanitize_text(task_id)) & (tasks.c.state == State.FAILED)
        return self._transition(State.QUEUED, failed & tasks.c.input_key.is_(None), **anew, **nothing_failed)

    def fail(self, task: Task, failure: Failure) -> bool:
        """Fail the task."""
        return self._transition(State.FAILED, owned_by(task), **failure_values(failure))

    def fail_unserved(self, model: str, older_than_s: float, limit: int = 200) -> list[Task]:
        """Fail tasks queued for longer than `older_than_s` whose model no server has served since. `model` is served.

        The delay keeps the queue during a restart. Fails at most `limit` tasks of each model; if it fails that many,
        there may be more.
        """
        lately = select(dispatchers.c.model).where(dispatchers.c.alive_until > self._now() - older_than_s)
        served = {model, *(row.model for row in self._read(lately))}
        unserved = [row.model for row in self._read(queued_models()) if row.model not in served]
        failure = Failure(
            f"the model that the task was accepted for is no longer served (this server has {model}); submit it again",
            "model_not_served",
            retryable=True,
        )
        made_before = time.time() - older_than_s
        return [task for each in unserved for task in self._fail_first(each, made_before, limit, failure)]

    def _fail_first(self, model: str, made_before: float, limit: int, failure: Failure) -> list[Task]:
        """Fail those among the oldest `limit` tasks of a model that are old enough. The model gets no new tasks."""
        free = (IN_QUEUE, tasks.c.dispatcher.is_(None))
        first = self._scans.queued_of_all_owners(
            select(tasks.c.sequence, tasks.c.created_at).where(*free), model
        ).limit(limit)
        old = [row.sequence for row in self._read(first) if row.created_at < made_before]
        return self._fail_all(old, and_(*free), failure)

    def fail_overdue(self, limit: int = 200) -> list[Task]:
        """Fail at most `limit` tasks that are past their deadlines. Their workers find out at the next report."""
        downloading = tasks.c.stage.is_not_distinct_from(Stage.DOWNLOADING)
        due = UNFINISHED_ROWS & (tasks.c.deadline_at < time.time()) & ~downloading
        first = self._read(select(tasks.c.sequence).where(due).order_by(tasks.c.deadline_at).limit(limit))
        failure = Failure("it was not done within its timeout_s", "timeout", retryable=True)
        return self._fail_all([row.sequence for row in first], due, failure)

    def _fail_all(self, sequences: Collection[int], condition: ColumnElement[bool], failure: Failure) -> list[Task]:
        """Fail those of these tasks that still meet `condition`. Skips rows that another server is changing."""
        if not sequences:
            return []  # runs every second, and a read costs less than a write
        still = lock_free_rows(select(tasks.c.sequence).where(tasks.c.sequence.in_(sequences), condition))
        failed = update(tasks).where(tasks.c.sequence.in_(select(still.c.sequence)))
        return self._finish(failed.values(**end_values(State.FAILED), **failure_values(failure)))

"""The base class of the task queries: transactions, and the column values of each transition."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import CompoundSelect, Engine, Row, Select, Update, case, update
from sqlalchemy.sql.elements import ColumnElement

from models.ltx2.options import FAST_GUIDANCE_FRACTION
from models.progress import Stage
from storage.db.engine import is_sqlite, read_only_engine, sanitize_text, translate_db_errors
from storage.db.schema import tasks
from storage.fair_queue import Quota
from storage.sql.dialect import lease_clock
from storage.sql.index_scans import IndexScans
from storage.sql.mapping import task_or_none
from storage.sql.outbox import insert_deliveries
from storage.tasks import UNFINISHED, Failure, State, Task, allowed_from


class SqlStore:
    """Access to one database with SQLAlchemy Core, on SQLite or PostgreSQL."""

    def __init__(
        self,
        engine: Engine,
        on_end: Callable[[Task], None] | None = None,
        quotas: Mapping[str, Quota] | None = None,
        fast_guidance_fraction: float = FAST_GUIDANCE_FRACTION,
    ) -> None:
        """`on_end` is called once per ended task, after the write, in the thread that wrote it.

        `quotas` has the limits of the owners; an owner without an entry has weight 1 and no limits.
        `fast_guidance_fraction` is the part of its steps that a task with quality fast guides.
        """
        self._engine = engine
        self._on_end = on_end
        self._quotas = dict(quotas or {})
        self._fast_guided_share = fast_guidance_fraction
        self._scans = IndexScans(by_rows=not is_sqlite(engine))
        self._reader = read_only_engine(engine)

    def quota(self, owner: str) -> Quota:
        """The limits of an owner."""
        return self._quotas.get(owner, Quota())

    def _now(self) -> ColumnElement[Any]:
        return lease_clock(self._engine)

    def _read(self, query: Select[Any] | CompoundSelect[Any]) -> Sequence[Row[Any]]:
        with translate_db_errors(), self._reader.connect() as connection:
            return connection.execute(query).all()

    def _count(self, query: Select[Any]) -> int:
        with translate_db_errors(), self._reader.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def _write(self, statement: Update) -> list[Task]:
        with translate_db_errors(), self._engine.begin() as connection:
            rows = connection.execute(statement.returning(tasks)).all()
        return [task for row in rows if (task := task_or_none(row)) is not None]

    def _finish(self, statement: Update) -> list[Task]:
        """End tasks and write their webhook deliveries in one transaction, then call `on_end` for each task."""
        with translate_db_errors(), self._engine.begin() as connection:
            rows = connection.execute(statement.returning(tasks)).all()
            known = [(row, task) for row in rows if (task := task_or_none(row)) is not None]
            insert_deliveries(connection, known)
        written = [task for _, task in known]
        if self._on_end is not None:
            for task in written:
                self._on_end(task)
        return written

    def _transition(self, target: State, condition: ColumnElement[bool], **values: Any) -> bool:
        """Move a task into another state, if TRANSITIONS allows it from its current state. Returns whether it did."""
        write = self._write
        if target not in UNFINISHED:
            values |= end_values(target)
            write = self._finish
        allowed = tasks.c.state.in_(allowed_from(target))
        return bool(write(update(tasks).where(condition, allowed).values({"state": target, **values})))


UNFINISHED_ROWS = tasks.c.finished_at.is_(None)
"""Equivalent to `state IN (queued, processing)`, but lets the planner use the partial indexes of held and due rows."""

REQUEUED_VALUES: dict[str, Any] = {
    "state": State.QUEUED,
    "dispatcher": None,
    "lease_until": None,
    "claim_token": tasks.c.claim_token + 1,
    "stage": None,
    "step": 0,
    "preview_step": None,
    "progress": 0.0,
    "bytes_done": 0,
    "bytes_total": 0,
    "started_at": None,
    "rendering_at": None,
    "decoding_at": None,
}


def owned_by(task: Task) -> ColumnElement[bool]:
    """The condition that the row still belongs to the claim with which `task` was read."""
    return (tasks.c.id == task.id) & (tasks.c.claim_token == task.claim_token) & tasks.c.state.in_(UNFINISHED)


NO_FAILURE: dict[str, Any] = {"error": None, "error_code": None, "retryable": None}


def end_values(state: State) -> dict[str, Any]:
    """Column values of a task that ends in `state`."""
    return {"state": state, "finished_at": time.time(), "stage": None, "dispatcher": None, "lease_until": None}


def failure_values(failure: Failure) -> dict[str, Any]:
    """Further column values of a task that ends with a failure."""
    return {"error": sanitize_text(failure.message), "error_code": failure.code, "retryable": failure.retryable}


def deadline_after_download() -> ColumnElement[Any]:
    """The new deadline when a download ends now: later by the time since the start of the run."""
    downloading = tasks.c.stage.is_not_distinct_from(Stage.DOWNLOADING)
    later = tasks.c.deadline_at + (time.time() - tasks.c.started_at)
    return case((downloading, later), else_=tasks.c.deadline_at)

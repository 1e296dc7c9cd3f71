"""Queries of the retention, which expires and deletes old rows. All methods block and raise StoreUnavailable.

Each call handles a limited number of rows. Several servers may call them at once.
"""

from collections.abc import Collection

from sqlalchemy import CTE, Engine, delete, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.db.engine import translate_db_errors
from storage.db.schema import tasks, webhook_deliveries
from storage.sql.dialect import lock_free_rows
from storage.tasks import TERMINAL, State, allowed_from

REMOVABLE = TERMINAL - {State.COMPLETED}
"""A completed task is not deleted directly: it becomes expired first, when its files are deleted."""


class SqlRetentionStore:
    """Expires and deletes tasks and webhook deliveries. Times are in seconds since the epoch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def expire(self, ended_before: float, limit: int) -> list[str]:
        """Mark the oldest completed tasks as expired. Returns their ids; the caller deletes their files."""
        old = _oldest(tasks.c.state.in_(allowed_from(State.EXPIRED)), ended_before, limit)
        expired = update(tasks).where(tasks.c.sequence.in_(select(old.c.sequence))).values(state=State.EXPIRED)
        with translate_db_errors(), self._engine.begin() as connection:
            return [str(row.id) for row in connection.execute(expired.returning(tasks.c.id))]

    def old(self, ended_before: float, limit: int) -> list[str]:
        """The ids of tasks that ended before `ended_before` and whose rows may be deleted, oldest first."""
        old = _oldest(tasks.c.state.in_(REMOVABLE), ended_before, limit)
        with translate_db_errors(), self._engine.begin() as connection:
            return [str(row.id) for row in connection.execute(select(old.c.id))]

    def remove(self, task_ids: Collection[str], ended_before: float) -> None:
        """Delete the rows, except those of tasks that were requeued meanwhile."""
        still = tasks.c.state.in_(REMOVABLE) & (tasks.c.finished_at < ended_before)
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(delete(tasks).where(tasks.c.id.in_(task_ids), still))

    def delete_webhooks(self, made_before: float, limit: int) -> int:
        """Delete the oldest deliveries that were created before `made_before`. Returns how many were deleted."""
        old = lock_free_rows(
            select(webhook_deliveries.c.sequence)
            .where(webhook_deliveries.c.created_at < made_before)
            .order_by(webhook_deliveries.c.created_at)
            .limit(limit)
        )
        gone = delete(webhook_deliveries).where(webhook_deliveries.c.sequence.in_(select(old.c.sequence)))
        with translate_db_errors(), self._engine.begin() as connection:
            return len(connection.execute(gone.returning(webhook_deliveries.c.sequence)).all())

    def completed(self, after: str, limit: int) -> list[tuple[str, tuple[str, ...]]]:
        """The next completed tasks after the id `after`, in order of their ids, with the keys of their files."""
        found = (
            select(tasks.c.id, tasks.c.output_key, tasks.c.poster_key)
            .where(tasks.c.state == State.COMPLETED, tasks.c.id > after)
            .order_by(tasks.c.id)
            .limit(limit)
        )
        with translate_db_errors(), self._engine.begin() as connection:
            rows = connection.execute(found).all()
        return [(row.id, tuple(key for key in (row.output_key, row.poster_key) if key)) for row in rows]

    def states(self, task_ids: Collection[str]) -> dict[str, State]:
        """The states of these tasks. Tasks without a row are left out."""
        wanted = select(tasks.c.id, tasks.c.state).where(tasks.c.id.in_(task_ids))
        with translate_db_errors(), self._engine.begin() as connection:
            return {row.id: State(row.state) for row in connection.execute(wanted)}


def _oldest(condition: ColumnElement[bool], ended_before: float, limit: int) -> CTE:
    """The rows that ended first. Skips rows that another server is changing."""
    return lock_free_rows(
        select(tasks.c.sequence, tasks.c.id)
        .where(condition, tasks.c.finished_at < ended_before)
        .order_by(tasks.c.finished_at)
        .limit(limit)
    )

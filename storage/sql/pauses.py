"""Pauses the queue for operators: while the table `pauses` has a row, no Dispatcher claims a task."""

import time

from sqlalchemy import delete, insert, literal, select, update

from storage.db.engine import translate_db_errors
from storage.db.schema import pauses, tasks
from storage.sql.base import REQUEUED_VALUES, SqlStore
from storage.tasks import State

PAUSED = select(literal(1)).select_from(pauses).exists()
"""Part of the claim statement itself, so that it also applies to a Dispatcher that does not know of the pause."""


class PauseQueries(SqlStore):
    """Pauses and resumes claims for all servers on the database."""

    def pause(self) -> bool:
        """Stop all claims until `resume`, and requeue tasks whose runs have not started. False if already paused."""
        waiting_at_a_generator = tasks.c.dispatcher.is_not(None) & (tasks.c.state == State.QUEUED)
        with translate_db_errors(), self._engine.begin() as connection:
            if connection.execute(select(pauses)).first() is not None:
                return False
            connection.execute(insert(pauses).values(paused_at=time.time()))
            connection.execute(update(tasks).where(waiting_at_a_generator).values(REQUEUED_VALUES))
            return True

    def resume(self) -> bool:
        """Allow claims again. False if they were not paused."""
        with translate_db_errors(), self._engine.begin() as connection:
            return connection.execute(delete(pauses)).rowcount > 0

    def paused_at(self) -> float | None:
        """When claims were paused, in seconds since the epoch. None while they are not paused."""
        found = self._read(select(pauses.c.paused_at).limit(1))
        return float(found[0].paused_at) if found else None

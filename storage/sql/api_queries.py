"""Queries of the Ingress: submit, read, list, cancel and delete tasks."""

import secrets as random
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, func, insert, select, union_all, update

from storage.db.engine import sanitize_text, translate_db_errors
from storage.db.schema import secrets, tasks
from storage.sql.base import SqlStore
from storage.sql.dialect import conflict_insert
from storage.sql.mapping import row_to_task, task_or_none, task_to_row
from storage.sql.submit import check_owner_limit, check_queue_limit, find_idempotent, look_up_idempotent
from storage.tasks import UNFINISHED, NewTask, State, Task, allowed_from


class ApiQueries(SqlStore):
    """Creates, reads and ends tasks."""

    def submit(self, new: NewTask, max_queued: int | None = None) -> Task:
        """Queue a task, or return the task of its idempotency key.

        Raises IdempotencyKeyReused. Raises QueueFull when `max_queued` tasks wait for its model, or the owner's maximum
        of tasks does.
        """
        with translate_db_errors(), self._engine.begin() as connection:
            if (
                new.idempotency
                and (known := find_idempotent(connection, new.owner, new.idempotency, new.id)) is not None
            ):
                return row_to_task(known)
            if max_queued is not None:
                check_queue_limit(connection, new.model, max_queued)
            check_owner_limit(connection, new.model, new.owner, self.quota(new.owner))
            return row_to_task(connection.execute(insert(tasks).values(task_to_row(new)).returning(tasks)).one())

    def check_queue_limit(self, new: NewTask, max_queued: int | None = None) -> Task | None:
        """Check what `submit` would do now, without writing.

        Returns the task of the idempotency key, if there is one. Raises the errors of `submit`.
        """
        with translate_db_errors(), self._reader.connect() as connection:
            if new.idempotency and (known := look_up_idempotent(connection, new.owner, new.idempotency)) is not None:
                return row_to_task(known)
            if max_queued is not None:
                check_queue_limit(connection, new.model, max_queued)
            check_owner_limit(connection, new.model, new.owner, self.quota(new.owner))
        return None

    def get(self, task_id: str) -> Task | None:
        """Read one task. None when it does not exist."""
        found = self._rows_of([task_id])
        return row_to_task(found[0]) if found else None

    def get_many(self, task_ids: Collection[str]) -> list[Task]:
        """Read several tasks. Leaves out missing ones, and those that this version of the server cannot read."""
        return [task for row in self._rows_of(task_ids) if (task := task_or_none(row)) is not None]

    def _rows_of(self, task_ids: Collection[str]) -> Sequence[Row[Any]]:
        ids = [task_id for task_id in task_ids if task_id == sanitize_text(task_id)]
        return self._read(select(tasks).where(tasks.c.id.in_(ids)))

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
        found: list[Task] = []
        while states and (missing := limit - len(found)) > 0:
            rows = self._page(states, missing, beyond, oldest_first=oldest_first, owner=owner)
            found += [task for row in rows if (task := task_or_none(row)) is not None]
            if len(rows) < missing:
                break
            beyond = rows[-1].sequence
        return found

    def _page(
        self, states: Collection[State], limit: int, beyond: int | None, *, oldest_first: bool, owner: str | None
    ) -> Sequence[Row[Any]]:
        along = self._scans.by_state
        scans = [  # one per state, so that a state with few tasks does not require a scan of all other tasks
            select(along(select(tasks), state, owner, beyond=beyond, oldest_first=oldest_first).limit(limit).subquery())
            for state in sorted(states)
        ]
        rows = self._read(union_all(*scans))
        return sorted(rows, key=lambda row: row.sequence, reverse=not oldest_first)[:limit]

    def counts(self) -> dict[State, int]:
        """Count the unfinished tasks by state."""
        query = (
            select(tasks.c.state, func.count().label("number"))
            .where(tasks.c.state.in_(UNFINISHED))
            .group_by(tasks.c.state)
        )
        return dict.fromkeys(sorted(UNFINISHED), 0) | {State(row.state): row.number for row in self._read(query)}

    def cancel(self, task_id: str) -> bool:
        """Cancel an unfinished task. Its worker finds out at the next report."""
        return self._transition(State.CANCELED, tasks.c.id == sanitize_text(task_id))

    def delete(self, task_id: str) -> bool:
        """Mark an ended task as deleted. The row stays; the caller deletes the files."""
        ended = tasks.c.state.in_(allowed_from(State.DELETED))
        gone = update(tasks).where(tasks.c.id == sanitize_text(task_id), ended).values(state=State.DELETED)
        return bool(self._write(gone))


SECRET_BYTES = 32


class SecretQueries(SqlStore):
    """Reads named random secrets, and creates missing ones."""

    def shared_secret(self, name: str) -> bytes:
        """32 random bytes, the same for every process on this database. Created at the first call."""
        wanted = select(secrets.c.value).where(secrets.c.name == name)
        if found := self._read(wanted):
            return bytes.fromhex(found[0].value)
        fresh = {"name": name, "value": random.token_hex(SECRET_BYTES)}
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(conflict_insert(connection, secrets).values(fresh).on_conflict_do_nothing())
        return bytes.fromhex(self._read(wanted)[0].value)

"""What clients ask of a task, through the way in."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, func, insert, select, union_all, update

from storage.admission import check_room, check_share, find_repeated, look_up_repeated
from storage.database import answering, storable
from storage.rows import new_row, read_known, read_task
from storage.schema import tasks
from storage.sql.statements import Statements
from storage.tasks import UNFINISHED, NewTask, State, Task, sources


class ClientStatements(Statements):
    """Make tasks, read them, end them."""

    def submit(self, new: NewTask, max_queued: int | None = None) -> Task:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            if new.idempotency and (known := find_repeated(connection, new.owner, new.idempotency, new.id)) is not None:
                return read_task(known)
            if max_queued is not None:
                check_room(connection, new.model, max_queued)
            check_share(connection, new.model, new.owner, self.share(new.owner))
            return read_task(connection.execute(insert(tasks).values(new_row(new)).returning(tasks)).one())

    def check_room(self, new: NewTask, max_queued: int | None = None) -> Task | None:  # noqa: D102
        with answering(), self._reader.connect() as connection:
            if new.idempotency and (known := look_up_repeated(connection, new.owner, new.idempotency)) is not None:
                return read_task(known)
            if max_queued is not None:
                check_room(connection, new.model, max_queued)
            check_share(connection, new.model, new.owner, self.share(new.owner))
        return None

    def get(self, task_id: str) -> Task | None:  # noqa: D102
        found = self._rows_of([task_id])
        return read_task(found[0]) if found else None

    def get_many(self, task_ids: Collection[str]) -> list[Task]:  # noqa: D102
        return [task for row in self._rows_of(task_ids) if (task := read_known(row)) is not None]

    def _rows_of(self, task_ids: Collection[str]) -> Sequence[Row[Any]]:
        ids = [task_id for task_id in task_ids if task_id == storable(task_id)]
        return self._read(select(tasks).where(tasks.c.id.in_(ids)))

    def page(  # noqa: D102
        self,
        states: Collection[State],
        limit: int,
        beyond: int | None = None,
        *,
        oldest_first: bool = False,
        owner: str | None = None,
    ) -> list[Task]:
        found: list[Task] = []
        while states and (missing := limit - len(found)) > 0:
            rows = self._page(states, missing, beyond, oldest_first=oldest_first, owner=owner)
            found += [task for row in rows if (task := read_known(row)) is not None]
            if len(rows) < missing:
                break
            beyond = rows[-1].sequence
        return found

    def _page(
        self, states: Collection[State], limit: int, beyond: int | None, *, oldest_first: bool, owner: str | None
    ) -> Sequence[Row[Any]]:
        along = self._walks.along
        walks = [  # one for each state: a state with few tasks costs no scan of all the others
            select(along(select(tasks), state, owner, beyond=beyond, oldest_first=oldest_first).limit(limit).subquery())
            for state in sorted(states)
        ]
        rows = self._read(union_all(*walks))
        return sorted(rows, key=lambda row: row.sequence, reverse=not oldest_first)[:limit]

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

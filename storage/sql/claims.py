"""Claims tasks: the owner with the smallest virtual time goes next, its oldest task first.

Dispatchers on PostgreSQL claim at the same time. Each reads the virtual times without a lock, and at the end advances
them in the rows: both claims count, whichever commits first. Only owners with `max_running` are locked, because a limit
must be checked and used by one claim at a time. The tasks are selected with SKIP LOCKED, so no two claims get the same
one, and a row being canceled blocks neither.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, insert, literal, select, update

from storage.db.engine import translate_db_errors
from storage.db.schema import fair_queue_state, pauses, tasks
from storage.fair_queue import Quota, VirtualTime, advance, next_start, task_cost
from storage.sql.base import REQUEUED_VALUES, UNFINISHED_ROWS, SqlStore, end_values, failure_values
from storage.sql.dialect import conflict_insert, lock_free_rows
from storage.sql.index_scans import IndexScans, oldest_by_owner
from storage.sql.mapping import task_or_none
from storage.tasks import Failure, State, Task

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


UNKNOWN = Failure(
    "a newer version of the server accepted the task and this version cannot run it; submit it again",
    "not_known",
    retryable=True,
)
CLAIMABLE = (tasks.c.dispatcher.is_(None), ~PAUSED)


class ClaimQueries(SqlStore):
    """Claims tasks with fair queueing."""

    def claim(self, dispatcher: str, model: str, limit: int, lease_s: float) -> list[Task]:
        """Claim queued tasks of `model` for `dispatcher`. Their state stays queued until their runs start.

        Owners take turns by their weights. The oldest task of an owner goes first.
        """
        if limit < 1 or not self._read(oldest_by_owner(self._scans, model, *CLAIMABLE).limit(1)):
            return []  # runs every second, and a read costs less than a write
        with translate_db_errors(), self._engine.begin() as connection:
            claim = _ClaimRun(connection, model, self._scans, self.quota, self._fast_guided_share)
            values = {
                "dispatcher": dispatcher,
                "claim_token": tasks.c.claim_token + 1,
                "lease_until": self._now() + lease_s,
            }
            claim.claim(limit, values)
            return claim.taken


class _ClaimRun:
    """One claim, inside its transaction."""

    def __init__(
        self,
        connection: Connection,
        model: str,
        scans: IndexScans,
        quota: Callable[[str], Quota],
        fast_guidance_fraction: float,
    ) -> None:
        self._connection = connection
        self._model = model
        self._scans = scans
        self._quota = quota
        self._fast_guided_share = fast_guidance_fraction
        found = connection.execute(oldest_by_owner(scans, model, *CLAIMABLE))
        self._oldest = {str(row.owner): int(row.oldest) for row in found}
        self._limited = sorted(owner for owner in self._oldest if quota(owner).max_running is not None)
        self._virtual_times = self._read_virtual_times()
        self._running = self._count_running()
        self._began: dict[str, float] = {}
        self.taken: list[Task] = []

    def claim(self, limit: int, values: dict[str, Any]) -> None:
        """Claim tasks until there are `limit`, or no owner may have more."""
        while (left := limit - len(self.taken)) > 0 and (owner := self._next_owner()) is not None:
            alone = len(self._oldest) == 1
            found = self._claim_of_owner(owner, min(left, self._free_slots(owner, left)) if alone else 1, values)
            if not found:
                del self._oldest[owner]
                continue
            self._advance_virtual_time(owner, found)
        self._write_virtual_times()

    def _read_virtual_times(self) -> dict[str, VirtualTime]:
        """The virtual times of all owners. Locks the rows of owners with `max_running`."""
        if self._limited:
            rows = [{"owner": owner, "start": 0.0, "finish": 0.0} for owner in self._limited]
            created = conflict_insert(self._connection, fair_queue_state).values(rows)
            self._connection.execute(created.on_conflict_do_nothing())
            limited = select(fair_queue_state.c.owner).where(fair_queue_state.c.owner.in_(self._limited))
            self._connection.execute(limited.order_by(fair_queue_state.c.owner).with_for_update())
        return read_virtual_times(self._connection.execute(select(fair_queue_state)))

    def _next_owner(self) -> str | None:
        allowed = [owner for owner in self._oldest if self._free_slots(owner, 1) > 0]
        return min(
            allowed, key=lambda owner: (next_start(self._virtual_times, owner), self._oldest[owner]), default=None
        )

    def _free_slots(self, owner: str, wanted: int) -> int:
        most = self._quota(owner).max_running
        return wanted if most is None else most - self._running.get(owner, 0)

    def _claim_of_owner(self, owner: str, limit: int, values: dict[str, Any]) -> list[Task]:
        claimable = select(tasks.c.sequence).where(*CLAIMABLE)
        oldest = lock_free_rows(self._scans.queued_by_owner(claimable, self._model, owner).limit(limit))
        claimed = update(tasks).where(tasks.c.sequence.in_(select(oldest.c.sequence))).values(values)
        rows = self._connection.execute(claimed.returning(tasks)).all()
        found = {row.sequence: task_or_none(row) for row in rows}
        self._fail_unknown([sequence for sequence, task in found.items() if task is None])
        return sorted((task for task in found.values() if task is not None), key=lambda task: task.sequence)

    def _fail_unknown(self, sequences: list[int]) -> None:
        """Fail tasks that a newer version accepted and this one cannot read. They would block the queue forever."""
        if sequences:
            ended_now = {**end_values(State.FAILED), **failure_values(UNKNOWN)}
            self._connection.execute(update(tasks).where(tasks.c.sequence.in_(sequences)).values(ended_now))

    def _advance_virtual_time(self, owner: str, found: list[Task]) -> None:
        """Advance the virtual time of the owner for the rest of this claim."""
        self._began.setdefault(owner, next_start(self._virtual_times, owner))
        for task in found:
            self._virtual_times[owner] = advance(
                self._virtual_times,
                owner,
                task_cost(task.rendered_part, self._fast_guided_share),
                self._quota(owner),
            )
        self._oldest[owner] = found[-1].sequence + 1
        self._running[owner] = self._running.get(owner, 0) + len(found)
        self.taken += found

    def _write_virtual_times(self) -> None:
        """Advance the rows of the owners whose tasks were claimed by as much as this claim has advanced them.

        Rows are updated in one order by all claims, those that are locked already first, so that no two claims wait for
        each other.
        """
        found = fair_queue_state.c
        for owner in sorted(self._began, key=lambda owner: (owner not in self._limited, owner)):
            began, now = self._began[owner], self._virtual_times[owner]
            since = case((found.finish > began, found.finish), else_=began)  # another claim may have moved it meanwhile
            moved = {"start": since + (now.start - began), "finish": since + (now.finish - began)}
            row = conflict_insert(self._connection, fair_queue_state).values(
                owner=owner, start=now.start, finish=now.finish
            )
            self._connection.execute(row.on_conflict_do_update(index_elements=["owner"], set_=moved))

    def _count_running(self) -> dict[str, int]:
        if not self._limited:
            return {}
        held = tasks.c.dispatcher.is_not(None) & UNFINISHED_ROWS
        counted = select(tasks.c.owner, func.count().label("number")).where(held).group_by(tasks.c.owner)
        return {row.owner: row.number for row in self._connection.execute(counted)}


def read_virtual_times(rows: Iterable[Row[Any]]) -> dict[str, VirtualTime]:
    """The virtual times in `rows`, by owner."""
    return {row.owner: VirtualTime(row.start, row.finish) for row in rows}

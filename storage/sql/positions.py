"""Where queued tasks stand, by the turns that their owners will have."""

from collections.abc import Collection, Mapping
from itertools import groupby

from sqlalchemy import func, literal, select, union_all

from storage.schema import tasks, turns
from storage.shares import Turns, begin_of, count_before, work
from storage.sql.claims import QUEUED, read_turns, waiting
from storage.sql.statements import Statements
from storage.tasks import Task


class PositionStatements(Statements):
    """Places in the queue: 1 is next. What others ask for is taken to be as large as the task itself."""

    def queue_position(self, task: Task) -> int:  # noqa: D102
        return self.queue_positions([task])[task.id]

    def queue_positions(self, queued: Collection[Task]) -> dict[str, int]:  # noqa: D102
        ordered = sorted(queued, key=lambda task: (task.owner, task.sequence))
        numbers: dict[str, int] = {}
        for _, theirs in groupby(ordered, key=lambda task: task.owner):
            run = list(theirs)
            first = self._ahead(run[0]) + 1
            numbers |= {task.id: first + place for place, task in enumerate(run)}
        oldest = {str(row.owner): int(row.oldest) for row in self._read(waiting(self._walks))}
        if oldest.keys() <= {task.owner for task in ordered} and len(oldest) == 1:
            return numbers
        known = read_turns(self._read(select(turns)))
        return {task.id: numbers[task.id] + self._others(task, numbers[task.id], oldest, known) for task in ordered}

    def _ahead(self, task: Task) -> int:
        """The tasks of the same owner before this one."""
        before = select(func.count()).where(QUEUED, tasks.c.owner == task.owner, tasks.c.sequence < task.sequence)
        return self._number(before)

    def _others(self, task: Task, number: int, oldest: Mapping[str, int], known: Turns) -> int:
        """The tasks of others that begin before this one, the n-th of its owner."""
        amount = work(task.request)
        begin = begin_of(known, task.owner, number, amount, self.share(task.owner))
        most = {
            owner: count_before(known, owner, begin, amount, self.share(owner), ties=first < task.sequence)
            for owner, first in oldest.items()
            if owner != task.owner
        }
        return self._at_most({owner: count for owner, count in most.items() if count > 0})

    def _at_most(self, most: Mapping[str, int]) -> int:
        """The queued tasks of these owners, counted up to a bound for each."""
        if not most:
            return 0
        counts = [
            select(func.count().label("number")).select_from(
                select(literal(1)).where(QUEUED, tasks.c.owner == owner).limit(bound).subquery()
            )
            for owner, bound in most.items()
        ]
        return sum(row.number for row in self._read(union_all(*counts)))

"""Where queued tasks stand, by the turns that their owners will have."""

from collections.abc import Collection, Mapping
from itertools import groupby

from sqlalchemy import func, literal, select, union_all

from storage.schema import IN_QUEUE, tasks, turns
from storage.shares import Turns, begin_of, count_before, rounds_before, work
from storage.sql.claims import read_turns
from storage.sql.queue import waiting
from storage.sql.statements import Statements
from storage.tasks import Place, State, Task


class PositionStatements(Statements):
    """Places in the queue of a model. What others ask for is taken to be as large as the task itself."""

    def place(self, task: Task) -> Place:  # noqa: D102
        return self.places([task])[task.id]

    def places(self, queued: Collection[Task]) -> dict[str, Place]:  # noqa: D102
        found: dict[str, Place] = {}
        for model in {task.model for task in queued}:
            found |= self._places(model, [task for task in queued if task.model == model])
        return found

    def _places(self, model: str, queued: Collection[Task]) -> dict[str, Place]:
        ordered = sorted(queued, key=lambda task: (task.owner, task.sequence))
        numbers: dict[str, int] = {}
        rounds: dict[str, float] = {}
        for owner, theirs in groupby(ordered, key=lambda task: task.owner):
            run, processing = list(theirs), self._processing_if_bounded(owner)
            for number, task in enumerate(run, self._ahead(run[0]) + 1):
                numbers[task.id] = number
                rounds[task.id] = rounds_before(self.share(owner), processing, number)
        others = self._others_of_all(model, ordered, numbers)
        return {task.id: Place(numbers[task.id] + others[task.id], rounds[task.id]) for task in ordered}

    def _ahead(self, task: Task) -> int:
        """The tasks of the same owner before this one."""
        theirs = (tasks.c.model == task.model) & (tasks.c.owner == task.owner)
        return self._number(select(func.count()).where(IN_QUEUE, theirs, tasks.c.sequence < task.sequence))

    def _processing_if_bounded(self, owner: str) -> int:
        """The tasks of an owner that run; 0 where no `max_running` makes its others wait for them."""
        if self.share(owner).max_running is None:
            return 0
        theirs = (tasks.c.state == State.PROCESSING) & (tasks.c.owner == owner)
        return self._number(select(func.count()).where(theirs))

    def _others_of_all(self, model: str, ordered: Collection[Task], numbers: Mapping[str, int]) -> dict[str, int]:
        """For each of these tasks, the tasks of others that begin before it."""
        oldest = {str(row.owner): int(row.oldest) for row in self._read(waiting(self._walks, model))}
        if len(oldest) == 1 and oldest.keys() <= {task.owner for task in ordered}:
            return dict.fromkeys(numbers, 0)
        known = read_turns(self._read(select(turns)))
        return {task.id: self._others(task, numbers[task.id], oldest, known) for task in ordered}

    def _others(self, task: Task, number: int, oldest: Mapping[str, int], known: Turns) -> int:
        """The tasks of others that begin before this one, the n-th of its owner."""
        amount = work(task.rendered_request, self._fast_guided_share)
        begin = begin_of(known, task.owner, number, amount, self.share(task.owner))
        most = {
            owner: count_before(known, owner, begin, amount, self.share(owner), ties=first < task.sequence)
            for owner, first in oldest.items()
            if owner != task.owner
        }
        return self._at_most(task.model, {owner: count for owner, count in most.items() if count > 0})

    def _at_most(self, model: str, most: Mapping[str, int]) -> int:
        """The tasks of these owners that wait for `model`, counted up to a bound for each."""
        if not most:
            return 0
        for_it = select(literal(1)).where(IN_QUEUE, tasks.c.model == model)
        bounded = [for_it.where(tasks.c.owner == owner).limit(bound).subquery() for owner, bound in most.items()]
        counts = [select(func.count().label("number")).select_from(each) for each in bounded]
        return sum(row.number for row in self._read(union_all(*counts)))

"""Computes queue positions of tasks from the future virtual times of their owners."""

from collections.abc import Collection, Mapping
from itertools import groupby

from sqlalchemy import func, literal, select, union_all

from storage.db.schema import IN_QUEUE, fair_queue_state, tasks
from storage.fair_queue import VirtualTimes, own_rounds, start_of, task_cost, tasks_ahead
from storage.sql.base import SqlStore
from storage.sql.claims import read_virtual_times
from storage.sql.index_scans import oldest_by_owner
from storage.tasks import QueuePosition, State, Task


class PositionQueries(SqlStore):
    """Positions in the queue of a model. Tasks of other owners are assumed to cost as much as the task itself."""

    def queue_position(self, task: Task) -> QueuePosition:
        """Count the tasks that will be claimed before this queued task, by the owners' future virtual times."""
        return self.queue_positions([task])[task.id]

    def queue_positions(self, queued: Collection[Task]) -> dict[str, QueuePosition]:
        """The positions of several tasks, by task id.

        If two of them have one owner, all queued tasks of that owner between the two must be included.
        """
        found: dict[str, QueuePosition] = {}
        for model in {task.model for task in queued}:
            found |= self._queue_positions(model, [task for task in queued if task.model == model])
        return found

    def _queue_positions(self, model: str, queued: Collection[Task]) -> dict[str, QueuePosition]:
        ordered = sorted(queued, key=lambda task: (task.owner, task.sequence))
        numbers: dict[str, int] = {}
        rounds: dict[str, float] = {}
        for owner, theirs in groupby(ordered, key=lambda task: task.owner):
            run, processing = list(theirs), self._processing_if_bounded(owner)
            for number, task in enumerate(run, self._ahead(run[0]) + 1):
                numbers[task.id] = number
                rounds[task.id] = own_rounds(self.quota(owner), processing, number)
        others = self._others_of_all(model, ordered, numbers)
        return {task.id: QueuePosition(numbers[task.id] + others[task.id], rounds[task.id]) for task in ordered}

    def _ahead(self, task: Task) -> int:
        """The number of queued tasks of the same owner before this one."""
        theirs = (tasks.c.model == task.model) & (tasks.c.owner == task.owner)
        return self._count(select(func.count()).where(IN_QUEUE, theirs, tasks.c.sequence < task.sequence))

    def _processing_if_bounded(self, owner: str) -> int:
        """The number of the owner's running tasks. 0 without a `max_running`: then no task waits for them."""
        if self.quota(owner).max_running is None:
            return 0
        theirs = (tasks.c.state == State.PROCESSING) & (tasks.c.owner == owner)
        return self._count(select(func.count()).where(theirs))

    def _others_of_all(self, model: str, ordered: Collection[Task], numbers: Mapping[str, int]) -> dict[str, int]:
        """For each task, the number of other owners' tasks that start before it."""
        oldest = {str(row.owner): int(row.oldest) for row in self._read(oldest_by_owner(self._scans, model))}
        if len(oldest) == 1 and oldest.keys() <= {task.owner for task in ordered}:
            return dict.fromkeys(numbers, 0)
        known = read_virtual_times(self._read(select(fair_queue_state)))
        return {task.id: self._others(task, numbers[task.id], oldest, known) for task in ordered}

    def _others(self, task: Task, number: int, oldest: Mapping[str, int], known: VirtualTimes) -> int:
        """The number of other owners' tasks that start before this one, which is task `number` of its owner."""
        amount = task_cost(task.rendered_part, self._fast_guided_share)
        begin = start_of(known, task.owner, number, amount, self.quota(task.owner))
        most = {
            owner: tasks_ahead(known, owner, begin, amount, self.quota(owner), ties=first < task.sequence)
            for owner, first in oldest.items()
            if owner != task.owner
        }
        return self._at_most(task.model, {owner: count for owner, count in most.items() if count > 0})

    def _at_most(self, model: str, most: Mapping[str, int]) -> int:
        """The total number of queued tasks of these owners for `model`, counted up to a limit for each owner."""
        if not most:
            return 0
        for_it = select(literal(1)).where(IN_QUEUE, tasks.c.model == model)
        bounded = [for_it.where(tasks.c.owner == owner).limit(bound).subquery() for owner, bound in most.items()]
        counts = [select(func.count().label("number")).select_from(each) for each in bounded]
        return sum(row.number for row in self._read(union_all(*counts)))

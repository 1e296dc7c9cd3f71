"""Walks along an index of the tasks: those of a state, of an owner in a state, or of a model in the queue.

On PostgreSQL they are comparisons of rows, which only the index of just these columns can answer in order. With plain
equations it takes the primary key for that and reads past all other tasks: 0.5 s in place of 0.05 ms (measured,
1,000,000 rows, 900,000 of them queued). SQLite takes the index for equations, and not for rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, Select, and_, literal, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from storage.db.schema import IN_QUEUE, tasks
from storage.tasks import State

MAX_SEQUENCE = 2**62
"""Beyond every sequence."""
Value = ColumnElement[str] | str
Bound = tuple[ColumnElement[Any], Value]
"""A column, and what it holds all along a walk."""


@dataclass(frozen=True)
class IndexScans:
    """How this database is asked for tasks in order."""

    by_rows: bool

    def by_state(
        self,
        query: Select[Any],
        state: State,
        owner: str | None = None,
        *,
        beyond: int | None = None,
        oldest_first: bool = True,
    ) -> Select[Any]:
        """Let a query go through the tasks of `state`, and of `owner` if one is named, that come after `beyond`."""
        bounds: list[Bound] = [(tasks.c.state, str(state)), *([] if owner is None else [(tasks.c.owner, owner)])]
        low = beyond + 1 if beyond is not None and oldest_first else 0
        high = beyond - 1 if beyond is not None and not oldest_first else MAX_SEQUENCE
        columns = [*(column for column, _ in bounds), tasks.c.sequence]
        order = [each if oldest_first else each.desc() for each in columns]
        return query.where(self._within(bounds, low, high)).order_by(*order)

    def queued_by_owner(self, query: Select[Any], model: str, owner: Value) -> Select[Any]:
        """Let a query go through the tasks of an owner that wait for `model`, the oldest first."""
        bounds: list[Bound] = [(tasks.c.model, model), (tasks.c.owner, owner)]
        within = self._within(bounds, 0, MAX_SEQUENCE)
        return query.where(IN_QUEUE, within).order_by(tasks.c.model, tasks.c.owner, tasks.c.sequence)

    def queued_of_all_owners(self, query: Select[Any], model: str, after_owner: Value | None = None) -> Select[Any]:
        """The same for all owners, one after the other; or for those whose names come after this one."""
        least: Value = "" if after_owner is None else after_owner
        if self.by_rows:
            row, start = tuple_(tasks.c.model, tasks.c.owner), tuple_(literal(model), _term(least))
            within = and_(row >= start if after_owner is None else row > start, tasks.c.model <= model)
        else:
            owner = tasks.c.owner
            within = and_(tasks.c.model == model, owner >= least if after_owner is None else owner > least)
        return query.where(IN_QUEUE, within).order_by(tasks.c.model, tasks.c.owner, tasks.c.sequence)

    def _within(self, bounds: list[Bound], low: int, high: int) -> ColumnElement[bool]:
        if not self.by_rows:
            same = [column == value for column, value in bounds]
            return and_(*same, tasks.c.sequence >= low, tasks.c.sequence <= high)
        row = tuple_(*(column for column, _ in bounds), tasks.c.sequence)
        least, most = ([*(_term(value) for _, value in bounds), literal(end)] for end in (low, high))
        return and_(row >= tuple_(*least), row <= tuple_(*most))


def loose_index_scan(name: str, following: Callable[[ColumnElement[str] | None], Select[Any]]) -> CTE:
    """Each value that the steps of `following` come to, from the first (after None) to none any more.

    One look into an index for each value, however many rows have it. The last row holds no value.
    """
    values = select(following(None).limit(1).scalar_subquery().label("value")).cte(name, recursive=True)
    steps = select(following(values.c.value).limit(1).scalar_subquery()).where(values.c.value.is_not(None))
    return values.union_all(steps)


def _term(value: Value) -> Any:
    return literal(value) if isinstance(value, str) else value

"""Queries on queued tasks by model and owner. Their cost does not depend on the length of the queue."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.sql.elements import ColumnElement

from storage.db.schema import IN_QUEUE, tasks
from storage.sql.index_scans import IndexScans, loose_index_scan


def oldest_by_owner(scans: IndexScans, model: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Each owner of queued tasks for `model` that meet `conditions`, with the sequence of its oldest one."""
    owners = loose_index_scan("owners", lambda last: scans.queued_of_all_owners(select(tasks.c.owner), model, last))
    oldest = scans.queued_by_owner(select(tasks.c.sequence).where(*conditions), model, owners.c.value).limit(1)
    found = select(owners.c.value.label("owner"), oldest.scalar_subquery().label("oldest"))
    each = found.where(owners.c.value.is_not(None)).subquery()
    return select(each).where(each.c.oldest.is_not(None))


def queued_models() -> Select[Any]:
    """The models of all queued tasks."""
    models = loose_index_scan("models", _next_model)
    return select(models.c.value.label("model")).where(models.c.value.is_not(None))


def _next_model(last: ColumnElement[str] | None) -> Select[Any]:
    query = select(tasks.c.model).where(IN_QUEUE).order_by(tasks.c.model)
    return query if last is None else query.where(tasks.c.model > last)

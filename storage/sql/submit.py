"""Checks of a submit: idempotency keys and queue limits.

They run in the transaction that inserts the task. Of two submits with one key, the second waits for the first at the
key's row and then finds its task.
"""

import time
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, tuple_, update

from models.errors import IdempotencyKeyReused, QueueFull
from storage.db.schema import IN_QUEUE, idempotency_keys, tasks
from storage.fair_queue import Quota
from storage.sql.dialect import conflict_insert, lock_free_rows
from storage.tasks import Idempotency

IDEMPOTENCY_TTL_S = 24 * 3600.0
"""How long an idempotency key is kept."""
DELETE_BATCH_SIZE = 20


def find_idempotent(connection: Connection, owner: str, idempotency: Idempotency, task_id: str) -> Row[Any] | None:
    """The task of this idempotency key. None when the key is new; it is then recorded for `task_id`.

    A key whose task has been deleted counts as new, regardless of its age. Raises IdempotencyKeyReused when the key
    came with a different request before.
    """
    _delete_expired(connection)
    now = time.time()
    values = {"digest": idempotency.digest, "task_id": task_id, "created_at": now}
    fresh = conflict_insert(connection, idempotency_keys).values(owner=owner, key=idempotency.key, **values)
    too_old = idempotency_keys.c.created_at < now - IDEMPOTENCY_TTL_S
    # Inserted or not, this transaction now holds the lock on the key's row.
    connection.execute(fresh.on_conflict_do_update(index_elements=["owner", "key"], set_=values, where=too_old))
    named = (idempotency_keys.c.owner == owner) & (idempotency_keys.c.key == idempotency.key)
    known = connection.execute(select(idempotency_keys.c.digest, idempotency_keys.c.task_id).where(named)).one()
    if known.task_id == task_id:
        return None
    task = connection.execute(select(tasks).where(tasks.c.id == known.task_id)).one_or_none()
    if task is None:
        connection.execute(update(idempotency_keys).where(named).values(values))
        return None
    _check_same_request(known.digest, idempotency)
    return task


def look_up_idempotent(connection: Connection, owner: str, idempotency: Idempotency) -> Row[Any] | None:
    """Look up the task of this idempotency key without writing. None when the key is new.

    Raises IdempotencyKeyReused when the key came with a different request before.
    """
    named = (idempotency_keys.c.owner == owner) & (idempotency_keys.c.key == idempotency.key)
    fresh = idempotency_keys.c.created_at >= time.time() - IDEMPOTENCY_TTL_S
    query = select(idempotency_keys.c.digest, tasks).join(tasks, tasks.c.id == idempotency_keys.c.task_id)
    known = connection.execute(query.where(named, fresh)).one_or_none()
    if known is not None:
        _check_same_request(known.digest, idempotency)
    return known


def _check_same_request(digest: str, idempotency: Idempotency) -> None:
    if digest != idempotency.digest:
        raise IdempotencyKeyReused(
            "Idempotency-Key: the key came with a different request before; use a new key for a new request"
        )


def check_queue_limit(connection: Connection, model: str, max_queued: int) -> None:
    """Raise QueueFull when `max_queued` tasks wait for the model. N submits at once may exceed the limit by N.

    Tasks of other models do not count: tasks of a model that is no longer served may take an hour to fail.
    """
    waiting = select(tasks.c.sequence).where(IN_QUEUE, tasks.c.model == model).limit(max_queued).subquery()
    if connection.execute(select(func.count()).select_from(waiting)).scalar_one() >= max_queued:
        raise QueueFull(f"the queue is full: {max_queued} tasks wait; try again later")


def check_owner_limit(connection: Connection, model: str, owner: str, quota: Quota) -> None:
    """Raise QueueFull when the owner's maximum of tasks waits for the model. As exact as `check_queue_limit`."""
    if quota.max_queued is None:
        return
    theirs = (tasks.c.model == model) & (tasks.c.owner == owner)
    waiting = select(tasks.c.sequence).where(IN_QUEUE, theirs).limit(quota.max_queued).subquery()
    if connection.execute(select(func.count()).select_from(waiting)).scalar_one() >= quota.max_queued:
        raise QueueFull(f"the queue of the key {owner} is full: {quota.max_queued} of its tasks wait; try again later")


def _delete_expired(connection: Connection) -> None:
    """Delete a few old keys, so that they do not accumulate. Skips rows that another submit is deleting."""
    old = lock_free_rows(
        select(idempotency_keys.c.owner, idempotency_keys.c.key)
        .where(idempotency_keys.c.created_at < time.time() - IDEMPOTENCY_TTL_S)
        .order_by(idempotency_keys.c.created_at)
        .limit(DELETE_BATCH_SIZE)
    )
    named = tuple_(idempotency_keys.c.owner, idempotency_keys.c.key)
    connection.execute(delete(idempotency_keys).where(named.in_(select(old.c.owner, old.c.key))))

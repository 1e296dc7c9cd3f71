"""How a task comes into the queue: once for each idempotency key, and only while there is room.

All of it happens in one transaction with the row itself: of two submits with one key, the second waits for the first at
the key's row and finds its task.
"""

import time
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from models.errors import IdempotencyKeyReused, QueueFull
from storage.schema import idempotency_keys, tasks
from storage.shares import Share
from storage.tasks import Idempotency, State

KEPT_S = 24 * 3600.0
"""How long a key is remembered."""
FORGOTTEN_AT_ONCE = 20


def task_of_key(connection: Connection, owner: str, idempotency: Idempotency, task_id: str) -> str:
    """The task that the key of this owner stands for: `task_id`, if the key is new, else that of the first submit.

    Raises IdempotencyKeyReused when the first submit was another one.
    """
    _forget_old(connection)
    values = {
        "owner": owner,
        "key": idempotency.key,
        "digest": idempotency.digest,
        "task_id": task_id,
        "created_at": time.time(),
    }
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    fresh = dialect.insert(idempotency_keys).values(values)
    too_old = idempotency_keys.c.created_at < time.time() - KEPT_S
    connection.execute(fresh.on_conflict_do_update(index_elements=["owner", "key"], set_=values, where=too_old))
    found = _found(connection, owner, idempotency.key)
    if found.digest != idempotency.digest:
        raise IdempotencyKeyReused(
            "Idempotency-Key: it came with another request before; take a new key for a new request"
        )
    return str(found.task_id)


def check_room(connection: Connection, max_queued: int) -> None:
    """Raise QueueFull when so many tasks are queued. Submits at the same moment may exceed it by their number."""
    waiting = select(tasks.c.sequence).where(tasks.c.state == State.QUEUED).limit(max_queued).subquery()
    if connection.execute(select(func.count()).select_from(waiting)).scalar_one() >= max_queued:
        raise QueueFull(f"the queue is full: {max_queued} tasks wait; try again later")


def check_share(connection: Connection, owner: str, share: Share) -> None:
    """Raise QueueFull when as many of the owner's tasks are queued as may be. Exact as `check_room` is."""
    if share.max_queued is None:
        return
    theirs = (tasks.c.state == State.QUEUED) & (tasks.c.owner == owner)
    waiting = select(tasks.c.sequence).where(theirs).limit(share.max_queued).subquery()
    if connection.execute(select(func.count()).select_from(waiting)).scalar_one() >= share.max_queued:
        raise QueueFull(f"the queue of the key {owner} is full: {share.max_queued} of its tasks wait; try again later")


def _found(connection: Connection, owner: str, key: str) -> Row[Any, Any]:
    named = (idempotency_keys.c.owner == owner) & (idempotency_keys.c.key == key)
    return connection.execute(select(idempotency_keys.c.digest, idempotency_keys.c.task_id).where(named)).one()


def _forget_old(connection: Connection) -> None:
    """Remove a few old keys, so that they do not pile up. Those that another submit is removing are passed over."""
    old = (
        select(idempotency_keys.c.owner, idempotency_keys.c.key)
        .where(idempotency_keys.c.created_at < time.time() - KEPT_S)
        .order_by(idempotency_keys.c.created_at)
        .limit(FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    named = tuple_(idempotency_keys.c.owner, idempotency_keys.c.key)
    connection.execute(delete(idempotency_keys).where(named.in_(select(old.c.owner, old.c.key))))

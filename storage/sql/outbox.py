"""Writes the outbox when tasks end. Each delivery has a snapshot of its task, so later changes do not affect it."""

import json
import secrets
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, insert

from storage.db.schema import tasks, webhook_deliveries
from storage.sql.mapping import row_to_task
from storage.tasks import Task
from storage.webhooks import Delivery, DeliveryGroup, DeliveryState

ID_BYTES = 16


def insert_deliveries(connection: Connection, ended: Sequence[tuple[Row[Any], Task]]) -> None:
    """Insert a delivery for each ended task that has a `webhook_url`, in the transaction that ends it."""
    asked = [(row, url) for row, task in ended if (url := task.request.webhook_url) is not None]
    if asked:
        connection.execute(insert(webhook_deliveries), [_new_row(row, url) for row, url in asked])


def read_delivery(row: Row[Any]) -> Delivery:
    """The pending delivery in a row."""
    return Delivery(row.id, row.url, DeliveryGroup.parse(row.delivery_group), _read_snapshot(row.task), row.attempts)


def _new_row(row: Row[Any], url: str) -> dict[str, Any]:
    now = time.time()
    return {
        "id": f"msg_{secrets.token_hex(ID_BYTES)}",
        "task_id": row.id,
        "url": url,
        "delivery_group": str(DeliveryGroup.from_url(row.owner, url)),
        "state": DeliveryState.PENDING,
        "task": json.dumps(dict(row._mapping)),  # noqa: SLF001  # public in SQLAlchemy despite its underscore
        "attempts": 0,
        "due_at": now,
        "created_at": now,
    }


def _read_snapshot(snapshot: str) -> Task:
    """The task in a snapshot. Another version may have written it, with more or fewer columns."""
    columns = dict.fromkeys(tasks.c.keys()) | json.loads(snapshot)
    return row_to_task(SimpleNamespace(**columns))

"""What senders ask of the outbox."""

import logging
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, and_, func, select, update

from storage.database import answering, storable
from storage.schema import PENDING, webhooks
from storage.sql.outbox import read_delivery
from storage.sql.statements import Statements
from storage.webhooks import Delivery, DeliveryState, Standing

MAX_ERROR_CHARS = 300

logger = logging.getLogger("ray.serve")


class WebhookStatements(Statements):
    """Claim deliveries, settle them, say how they stand."""

    def claim_webhooks(  # noqa: D102
        self, now: float, lease_s: float, limit: int, busy: Collection[str] = ()
    ) -> list[Delivery]:
        due = and_(PENDING, webhooks.c.due_at <= now)  # spelt as the index spells it, or SQLite would not take that
        first_of_each_host = (
            select(func.min(webhooks.c.sequence).label("sequence"))
            .where(due, webhooks.c.host.not_in(busy))
            .group_by(webhooks.c.host)
            .order_by(func.min(webhooks.c.due_at))
            .limit(limit)
        )
        if not (found := self._read(first_of_each_host)):
            return []  # asked every second: a look costs less than a write
        free = (
            select(webhooks.c.sequence)
            .where(webhooks.c.sequence.in_([row.sequence for row in found]), due)
            .with_for_update(skip_locked=True)
            .cte("free")
            .prefix_with("MATERIALIZED")
        )
        taken = update(webhooks).where(webhooks.c.sequence.in_(select(free.c.sequence)))
        values = {"due_at": now + lease_s, "attempts": webhooks.c.attempts + 1}
        with answering(), self._engine.begin() as connection:
            rows = connection.execute(taken.values(values).returning(webhooks)).all()
        return [delivery for row in rows if (delivery := _readable(row)) is not None]

    def settle_webhook(  # noqa: D102
        self, delivery: Delivery, state: DeliveryState, error: str | None, due_at: float = 0.0
    ) -> bool:
        this_attempt = (
            (webhooks.c.id == delivery.id)
            & (webhooks.c.attempts == delivery.attempt)
            & (webhooks.c.state == DeliveryState.PENDING)
        )
        values: dict[str, Any] = {"state": state, "last_error": storable(error)[:MAX_ERROR_CHARS] if error else None}
        if state == DeliveryState.PENDING:
            values["due_at"] = due_at
        else:
            values["task"] = None  # nobody will read it again
        with answering(), self._engine.begin() as connection:
            return bool(connection.execute(update(webhooks).where(this_attempt).values(values)).rowcount)

    def webhooks_of(self, task_ids: Collection[str]) -> dict[str, Standing]:  # noqa: D102
        if not task_ids:
            return {}
        seen = (webhooks.c.task_id, webhooks.c.state, webhooks.c.attempts, webhooks.c.last_error)
        found = self._read(select(*seen).where(webhooks.c.task_id.in_(task_ids)).order_by(webhooks.c.sequence))
        return {row.task_id: Standing(DeliveryState(row.state), row.attempts, row.last_error) for row in found}


def _readable(row: Row[Any]) -> Delivery | None:
    """The delivery, or None where its task is in the words of a newer version: that one claims it another time."""
    try:
        return read_delivery(row)
    except (TypeError, ValueError) as error:
        logger.warning("webhook %s waits for a version that can read it: %s", row.id, error)
        return None

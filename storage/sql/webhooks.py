"""What senders ask of the outbox."""

import logging
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, and_, case, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.database import answering, storable
from storage.schema import PENDING, webhooks
from storage.sql.outbox import read_delivery
from storage.sql.statements import Statements
from storage.sql.walks import distinct
from storage.webhooks import Delivery, DeliveryState, Due, Lane, Standing

MAX_ERROR_CHARS = 300

logger = logging.getLogger("ray.serve")


class WebhookStatements(Statements):
    """Claim deliveries, settle them, say how they stand."""

    def due_webhooks(self, now: float) -> list[Due]:  # noqa: D102
        lanes = distinct("lanes", _next_lane)

        def first(column: ColumnElement[Any]) -> ScalarSelect[Any]:
            waiting = select(column).where(PENDING, webhooks.c.lane == lanes.c.value, webhooks.c.due_at <= now)
            return waiting.order_by(webhooks.c.due_at).limit(1).correlate(lanes).scalar_subquery()

        seen = (lanes.c.value, first(webhooks.c.sequence).label("sequence"), first(webhooks.c.due_at).label("due_at"))
        found = self._read(select(*seen).where(lanes.c.value.is_not(None)))
        return [Due(row.sequence, Lane.parse(row.value), row.due_at) for row in found if row.sequence is not None]

    def claim_webhooks(self, sequences: Collection[int], now: float, lease_s: float) -> list[Delivery]:  # noqa: D102
        if not sequences:
            return []  # asked every second: a look costs less than a write
        due = and_(webhooks.c.state == DeliveryState.PENDING, webhooks.c.due_at <= now)
        free = (
            select(webhooks.c.sequence)
            .where(webhooks.c.sequence.in_(sequences), due)
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
        if state == DeliveryState.DELIVERED:
            values["task"] = None  # nobody will read it again
        with answering(), self._engine.begin() as connection:
            return bool(connection.execute(update(webhooks).where(this_attempt).values(values)).rowcount)

    def end_webhooks(self, task_id: str) -> None:  # noqa: D102
        theirs = (webhooks.c.task_id == storable(task_id)) & (webhooks.c.state == DeliveryState.PENDING)
        if not self._read(select(webhooks.c.sequence).where(theirs).limit(1)):
            return
        values = {"state": DeliveryState.FAILED, "last_error": "its task was deleted"}
        with answering(), self._engine.begin() as connection:
            connection.execute(update(webhooks).where(theirs).values(values))

    def pending_webhooks(self, ids: Collection[str]) -> set[str]:  # noqa: D102
        pending = webhooks.c.id.in_(ids) & (webhooks.c.state == DeliveryState.PENDING)
        return {row.id for row in self._read(select(webhooks.c.id).where(pending))}

    def resend_webhook(self, task_id: str, now: float) -> bool:  # noqa: D102
        last = select(func.max(webhooks.c.sequence)).where(webhooks.c.task_id == storable(task_id)).scalar_subquery()
        unheard = (webhooks.c.sequence == last) & (webhooks.c.state != DeliveryState.DELIVERED)
        given_up = webhooks.c.state == DeliveryState.FAILED
        again = {
            "state": DeliveryState.PENDING,
            "attempts": case((given_up, 0), else_=webhooks.c.attempts),
            "due_at": now,
        }
        with answering(), self._engine.begin() as connection:
            return bool(connection.execute(update(webhooks).where(unheard).values(again)).rowcount)

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


def _next_lane(last: ColumnElement[str] | None) -> Select[Any]:
    query = select(webhooks.c.lane).where(PENDING).order_by(webhooks.c.lane)
    return query if last is None else query.where(webhooks.c.lane > last)

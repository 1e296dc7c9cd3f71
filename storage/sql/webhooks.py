"""Queries of the webhook workers on the outbox."""

import logging
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, and_, case, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.db.engine import sanitize_text, translate_db_errors
from storage.db.schema import PENDING, webhook_deliveries
from storage.sql.base import SqlStore
from storage.sql.dialect import lock_free_rows
from storage.sql.index_scans import loose_index_scan
from storage.sql.outbox import read_delivery
from storage.webhooks import Delivery, DeliveryGroup, DeliveryState, DeliveryStatus, DueDelivery

MAX_ERROR_CHARS = 300

logger = logging.getLogger("ray.serve")


class WebhookQueries(SqlStore):
    """Claims deliveries, records their attempts, and reads their status."""

    def due_webhooks(self, now: float) -> list[DueDelivery]:
        """The deliveries due at `now`: one per group, however many wait in it."""
        groups = loose_index_scan("lanes", _next_group)

        def first(column: ColumnElement[Any]) -> ScalarSelect[Any]:
            waiting = select(column).where(
                PENDING, webhook_deliveries.c.delivery_group == groups.c.value, webhook_deliveries.c.due_at <= now
            )
            return waiting.order_by(webhook_deliveries.c.due_at).limit(1).correlate(groups).scalar_subquery()

        seen = (
            groups.c.value,
            first(webhook_deliveries.c.sequence).label("sequence"),
            first(webhook_deliveries.c.due_at).label("due_at"),
        )
        found = self._read(select(*seen).where(groups.c.value.is_not(None)))
        return [
            DueDelivery(row.sequence, DeliveryGroup.parse(row.value), row.due_at)
            for row in found
            if row.sequence is not None
        ]

    def claim_webhooks(self, sequences: Collection[int], now: float, lease_s: float) -> list[Delivery]:
        """Claim those of these deliveries that are due at `now` and not being claimed elsewhere.

        A delivery without a recorded attempt after `lease_s` seconds is due again.
        """
        if not sequences:
            return []  # runs every second, and a read costs less than a write
        due = and_(webhook_deliveries.c.state == DeliveryState.PENDING, webhook_deliveries.c.due_at <= now)
        wanted = webhook_deliveries.c.sequence.in_(sequences)
        free = lock_free_rows(select(webhook_deliveries.c.sequence).where(wanted, due))
        taken = update(webhook_deliveries).where(webhook_deliveries.c.sequence.in_(select(free.c.sequence)))
        values = {"due_at": now + lease_s, "attempts": webhook_deliveries.c.attempts + 1}
        with translate_db_errors(), self._engine.begin() as connection:
            rows = connection.execute(taken.values(values).returning(webhook_deliveries)).all()
        return [delivery for row in rows if (delivery := _readable(row)) is not None]

    def record_attempt(self, delivery: Delivery, state: DeliveryState, error: str | None, due_at: float = 0.0) -> bool:
        """Record the result of an attempt. A delivery that stays pending is due at `due_at`."""
        this_attempt = (
            (webhook_deliveries.c.id == delivery.id)
            & (webhook_deliveries.c.attempts == delivery.attempt)
            & (webhook_deliveries.c.state == DeliveryState.PENDING)
        )
        values: dict[str, Any] = {
            "state": state,
            "last_error": sanitize_text(error)[:MAX_ERROR_CHARS] if error else None,
        }
        if state == DeliveryState.PENDING:
            values["due_at"] = due_at
        if state == DeliveryState.DELIVERED:
            values["task"] = None  # not needed any more
        with translate_db_errors(), self._engine.begin() as connection:
            return bool(connection.execute(update(webhook_deliveries).where(this_attempt).values(values)).rowcount)

    def fail_webhooks(self, task_id: str) -> None:
        """Give up the pending deliveries of a task that was deleted."""
        theirs = (webhook_deliveries.c.task_id == sanitize_text(task_id)) & (
            webhook_deliveries.c.state == DeliveryState.PENDING
        )
        if not self._read(select(webhook_deliveries.c.sequence).where(theirs).limit(1)):
            return
        values = {"state": DeliveryState.FAILED, "last_error": "its task was deleted"}
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(update(webhook_deliveries).where(theirs).values(values))

    def pending_webhooks(self, ids: Collection[str]) -> set[str]:
        """The ids of those deliveries that are still pending."""
        pending = webhook_deliveries.c.id.in_(ids) & (webhook_deliveries.c.state == DeliveryState.PENDING)
        return {row.id for row in self._read(select(webhook_deliveries.c.id).where(pending))}

    def resend_webhook(self, task_id: str, now: float) -> bool:
        """Make the last delivery of a task due `now`. One that was given up gets all its attempts again.

        Returns False when there is no delivery, or it was delivered.
        """
        last = (
            select(func.max(webhook_deliveries.c.sequence))
            .where(webhook_deliveries.c.task_id == sanitize_text(task_id))
            .scalar_subquery()
        )
        unheard = (webhook_deliveries.c.sequence == last) & (webhook_deliveries.c.state != DeliveryState.DELIVERED)
        given_up = webhook_deliveries.c.state == DeliveryState.FAILED
        again = {
            "state": DeliveryState.PENDING,
            "attempts": case((given_up, 0), else_=webhook_deliveries.c.attempts),
            "due_at": now,
        }
        with translate_db_errors(), self._engine.begin() as connection:
            return bool(connection.execute(update(webhook_deliveries).where(unheard).values(again)).rowcount)

    def webhooks_of(self, task_ids: Collection[str]) -> dict[str, DeliveryStatus]:
        """The status of the last delivery of each task. Tasks without one are left out."""
        if not task_ids:
            return {}
        seen = (
            webhook_deliveries.c.task_id,
            webhook_deliveries.c.state,
            webhook_deliveries.c.attempts,
            webhook_deliveries.c.last_error,
        )
        found = self._read(
            select(*seen).where(webhook_deliveries.c.task_id.in_(task_ids)).order_by(webhook_deliveries.c.sequence)
        )
        return {row.task_id: DeliveryStatus(DeliveryState(row.state), row.attempts, row.last_error) for row in found}


def _readable(row: Row[Any]) -> Delivery | None:
    """The delivery in a row. None when its task can only be read by a newer version, which claims it later."""
    try:
        return read_delivery(row)
    except (TypeError, ValueError) as error:
        logger.warning("webhook %s waits for a version that can read it: %s", row.id, error)
        return None


def _next_group(last: ColumnElement[str] | None) -> Select[Any]:
    query = select(webhook_deliveries.c.delivery_group).where(PENDING).order_by(webhook_deliveries.c.delivery_group)
    return query if last is None else query.where(webhook_deliveries.c.delivery_group > last)

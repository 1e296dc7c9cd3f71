"""The outbox: what is told to a client's `webhook_url` at the end of its task, and how far that is.

The row of a delivery is written in the transaction that ends its task (`storage/sql/outbox.py`), so no crash comes
between the two. Each later write is a compare-and-set on (delivery, attempt).
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from storage.tasks import Task


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    """It will be tried, at once or again."""
    DELIVERED = "delivered"
    """The receiver has answered with a 2xx."""
    FAILED = "failed"
    """It has been given up; `last_error` says what the last try met."""


@dataclass(frozen=True)
class Delivery:
    """One message that a sender has claimed. `task` is the task as it ended, `attempt` counts from 1."""

    id: str
    url: str
    host: str
    task: Task
    attempt: int


@dataclass(frozen=True)
class Standing:
    """What a client sees of its webhook."""

    state: DeliveryState
    attempts: int = 0
    last_error: str | None = None


class WebhookStore(Protocol):
    """What senders ask of it. Times are seconds since the epoch."""

    def claim_webhooks(self, now: float, lease_s: float, limit: int, busy: Collection[str] = ()) -> list[Delivery]:
        """Take deliveries that are due at `now`: the oldest of each host, none of a host in `busy`.

        What its sender does not settle within `lease_s` is due again.
        """

    def settle_webhook(self, delivery: Delivery, state: DeliveryState, error: str | None, due_at: float = 0.0) -> bool:
        """Write down what came of this attempt; one that stays pending is due at `due_at`."""

    def webhooks_of(self, task_ids: Collection[str]) -> dict[str, Standing]:
        """How the last delivery of each task stands; those without one are left out."""

"""The outbox: what is told to a client's `webhook_url` at the end of its task, and how far that is.

The row of a delivery is written in the transaction that ends its task (`storage/sql/outbox.py`), so no crash comes
between the two. Each later write is a compare-and-set on (delivery, attempt).
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from storage.tasks import Task


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    """It will be tried, at once or again."""
    DELIVERED = "delivered"
    """The receiver has answered with a 2xx."""
    FAILED = "failed"
    """It has been given up; `last_error` says what the last try met."""


MAX_HOST_CHARS = 255
"""What an index takes; no name in the DNS is longer."""


@dataclass(frozen=True)
class DeliveryGroup:
    """The messages of one owner to one host. They wait for each other, and for those of no other group.

    `host` is the host and port of their urls.
    """

    owner: str
    host: str

    @classmethod
    def from_url(cls, owner: str, url: str) -> "DeliveryGroup":
        """The group of a message about a task of `owner`."""
        return cls(owner, urlsplit(url).netloc.lower()[:MAX_HOST_CHARS])

    @classmethod
    def parse(cls, written: str) -> "DeliveryGroup":
        """Read what `str` wrote. Neither a name nor a host has a space."""
        return cls(*written.split(" ", 1))

    def __str__(self) -> str:
        return f"{self.owner} {self.host}"


@dataclass(frozen=True)
class DueDelivery:
    """The message of a group that is due the longest; `sequence` names it."""

    sequence: int
    group: DeliveryGroup
    due_at: float


@dataclass(frozen=True)
class Delivery:
    """One message that a sender has claimed. `task` is the task as it ended, `attempt` counts from 1."""

    id: str
    url: str
    group: DeliveryGroup
    task: Task
    attempt: int


@dataclass(frozen=True)
class DeliveryStatus:
    """What a client sees of its webhook."""

    state: DeliveryState
    attempts: int = 0
    last_error: str | None = None


class WebhookStore(Protocol):
    """What senders ask of it. Times are seconds since the epoch."""

    def due_webhooks(self, now: float) -> list[DueDelivery]:
        """What is due at `now`: one message of each group, however many wait in it."""

    def claim_webhooks(self, sequences: Collection[int], now: float, lease_s: float) -> list[Delivery]:
        """Take those of these messages that are due at `now` and that nobody else takes.

        What its sender does not settle within `lease_s` is due again.
        """

    def record_attempt(self, delivery: Delivery, state: DeliveryState, error: str | None, due_at: float = 0.0) -> bool:
        """Write down what came of this attempt; one that stays pending is due at `due_at`."""

    def fail_webhooks(self, task_id: str) -> None:
        """Give up what is still to be told about a task: nobody wants to know any more."""

    def pending_webhooks(self, ids: Collection[str]) -> set[str]:
        """Those of these messages that are still to be sent."""

    def resend_webhook(self, task_id: str, now: float) -> bool:
        """Let the last message about a task be tried `now`: one that was given up from the start, another once more.

        False where there is none, or where it has been delivered.
        """

    def webhooks_of(self, task_ids: Collection[str]) -> dict[str, DeliveryStatus]:
        """How the last delivery of each task stands; those without one are left out."""

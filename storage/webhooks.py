"""The outbox protocol: webhook messages that report the end of a task, and the status of their delivery.

A delivery is inserted in the transaction that ends its task (`storage/sql/outbox.py`), so a crash cannot lose it. Each
later write is a compare-and-set on (delivery, attempt).
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from storage.tasks import Task


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    """It will be tried, for the first time or again."""
    DELIVERED = "delivered"
    """The receiver has answered with a 2xx status."""
    FAILED = "failed"
    """The server has given up; `last_error` is the error of the last attempt."""


MAX_HOST_CHARS = 255
"""Fits into an index. No DNS name is longer."""


@dataclass(frozen=True)
class DeliveryGroup:
    """The deliveries of one owner to one host. A delivery waits only for others of its group.

    `host` is the host and port of the urls.
    """

    owner: str
    host: str

    @classmethod
    def from_url(cls, owner: str, url: str) -> "DeliveryGroup":
        """The group of a delivery to `url` for a task of `owner`."""
        return cls(owner, urlsplit(url).netloc.lower()[:MAX_HOST_CHARS])

    @classmethod
    def parse(cls, written: str) -> "DeliveryGroup":
        """Parse the text that `str` returned. Neither an owner nor a host contains a space."""
        return cls(*written.split(" ", 1))

    def __str__(self) -> str:
        return f"{self.owner} {self.host}"


@dataclass(frozen=True)
class DueDelivery:
    """The delivery of a group that has been due the longest. `sequence` identifies it."""

    sequence: int
    group: DeliveryGroup
    due_at: float


@dataclass(frozen=True)
class Delivery:
    """A claimed delivery. `task` is the task as it ended; `attempt` counts from 1."""

    id: str
    url: str
    group: DeliveryGroup
    task: Task
    attempt: int


@dataclass(frozen=True)
class DeliveryStatus:
    """The status of a task's webhook, for the client."""

    state: DeliveryState
    attempts: int = 0
    last_error: str | None = None

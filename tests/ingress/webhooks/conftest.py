"""A webhook sender on a real store, with a fake clock and a fake name server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from deployments.ingress.webhooks.client import PayloadBuilder, WebhookClient
from deployments.ingress.webhooks.ssrf import Address
from deployments.ingress.webhooks.worker import DeliveryWorker
from deployments.settings import Settings
from storage.db.engine import open_engine
from storage.task_store import SqlTaskStore
from storage.tasks import ANONYMOUS, Task
from storage.webhooks import DeliveryStatus
from tests.ingress.webhooks.receivers import SECRET, Answer, Receiver
from tests.metrics.recorded import RecordedMetrics
from tests.sqlite import new_sqlite
from tests.storage.test_webhooks import completed


@dataclass
class Names:
    """A name server. Each name has a list of answers; the last one is repeated. Counts the queries."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        known = self.answers.get(host, [[host]])
        found = known.pop(0) if len(known) > 1 else known[0]
        if not found:
            raise OSError("the name server is away")
        return [ip_address(each) for each in found]


@dataclass
class Outbox:
    """A store with ended tasks, and the sender for their webhooks."""

    store: SqlTaskStore
    names: Names = field(default_factory=Names)
    now: float = field(default_factory=time.time)
    recorded: RecordedMetrics = field(default_factory=RecordedMetrics)

    def clock(self) -> float:
        return self.now

    def end(self, url: str, owner: str = ANONYMOUS) -> Task:
        task = completed(self.store, url, owner)
        self.now = max(self.now, time.time())
        return task

    def standing(self, task: Task) -> DeliveryStatus:
        return self.store.webhooks_of([task.id])[task.id]

    @contextlib.asynccontextmanager
    async def sender(self, secret: str = SECRET, **values: object) -> AsyncIterator[DeliveryWorker]:
        webhooks = {"secret": secret, "allow_private": True, **values}
        settings = Settings(webhooks=webhooks, public_base_url="https://videos.example/")
        messages = PayloadBuilder(settings, lambda: None)
        async with WebhookClient(settings.webhooks, messages, self.names, self.clock) as post:
            yield DeliveryWorker(
                settings.webhooks, self.store, post, self.clock, draw=lambda: 0.0, metrics=self.recorded
            )

    async def send_due(self, **values: object) -> None:
        """Send all deliveries that are due, and wait until they end."""
        async with self.sender(**values) as sender:
            while await sender.start_due():
                await sender.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # the condition reads a database, which sends no notification
        await asyncio.sleep(0.01)


@pytest.fixture
def outbox(tmp_path) -> Iterator[Outbox]:
    engine = open_engine(new_sqlite(tmp_path / "tasks.db"))
    store = SqlTaskStore(engine)
    yield Outbox(store)
    store.close()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """A function that starts receivers with the given answers."""
    with contextlib.ExitStack() as stack:

        def start(*answers: Answer) -> Receiver:
            return stack.enter_context(Receiver(*answers).serving())

        yield start

"""Dispatchers on one PostgreSQL follow an operator's pause."""

import logging

import pytest

from deployments.dispatcher import maintenance
from storage.tasks import State
from tests.dispatcher.fakes import all_end, dispatcher, end, submit, until

pytestmark = pytest.mark.anyio


class Said(logging.Handler):
    """Keeps the log messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self.lines)


@pytest.fixture
def said():
    handler, logger = Said(), logging.getLogger("ray.serve")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def test_running_tasks_end_and_no_other_begins_until_resume(settings, store, workers, said, monkeypatch):
    monkeypatch.setattr(maintenance, "CHECK_INTERVAL_S", 0.05)
    workers.render_s = 60
    pair = [dispatcher(settings, workers, 1) for _ in range(2)]
    await until(lambda: all(each._place.in_flight_limit == 2 for each in pair))
    ids = submit(store, 8)
    await until(lambda: len(workers.rendered) == 4)
    begun = set(workers.rendered)
    assert store.pause()
    await until(lambda: said.count("paused") == 2)
    workers.wake()
    await until(lambda: {row.state for row in store.get_many(list(begun))} == {State.COMPLETED})
    later = submit(store, 1)
    for each in pair:
        await each.notify()
    await until(lambda: not any(each._generating for each in pair))
    assert set(workers.rendered) == begun
    assert {row.state for row in store.get_many([*set(ids) - begun, *later])} == {State.QUEUED}
    workers.render_s = 0.05
    assert store.resume()
    await all_end(store, ids + later)
    await until(lambda: said.count("resumed") == 2)
    await end(*pair)

"""A slow or unavailable store never delays a step for long, and a canceled task ends at the next report."""

import threading
import time

import pytest
from sqlalchemy import Engine

from deployments.generator import progress
from deployments.generator.progress import WRITE_INTERVAL_S, ProgressReporter
from models.errors import StoreUnavailable, TaskCanceled
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, State, Task

PATIENCE_S = 60.0


class FickleStore(SqlTaskStore):
    """A store that can be unavailable, or answer nothing until `go_on` is set."""

    away = False

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.go_on = threading.Event()
        self.go_on.set()

    def report_progress(self, task: Task, progress: Progress) -> bool:
        self._be_fickle()
        return super().report_progress(task, progress)

    def owns_task(self, task: Task) -> bool:
        self._be_fickle()
        return super().owns_task(task)

    def _be_fickle(self) -> None:
        assert self.go_on.wait(PATIENCE_S), "the reporter waits for a store that does not answer"
        if self.away:
            raise StoreUnavailable("away")


@pytest.fixture
def store(engine: Engine) -> FickleStore:
    return FickleStore(engine)


@pytest.fixture
def task(store) -> Task:
    """A task that a Generator has started."""
    store.submit(NewTask(VideoRequest(prompt="x"), "model", "http://box"))
    (task,) = store.claim("alice", "model", 1, 60)
    store.start_run(task)
    return task


@pytest.fixture
def reporter(store, task, monkeypatch):
    """A reporter that waits for every answer, however busy the machine is."""
    monkeypatch.setattr(progress, "ANSWER_TIMEOUT_S", PATIENCE_S)
    reporter = ProgressReporter(store, task)
    yield reporter
    reporter.close()


@pytest.fixture
def hasty_reporter(store, task):
    """A reporter that waits for an answer as long as the server's."""
    reporter = ProgressReporter(store, task)
    yield reporter
    reporter.close()


def step(reporter: ProgressReporter, number: int) -> None:
    reporter(Progress(Stage.DENOISING, number))


def test_steps_and_stages_are_written(store, task, reporter):
    reporter(Progress(Stage.DENOISING, 1))
    assert (store.get(task.id).stage, store.get(task.id).step) == (Stage.DENOISING, 1)
    time.sleep(WRITE_INTERVAL_S)
    reporter(Progress(Stage.DENOISING, 2))
    assert store.get(task.id).step == 2
    reporter(Progress(Stage.DECODING, 2))
    assert store.get(task.id).stage == Stage.DECODING


def test_a_canceled_task_ends_at_the_next_step(store, task, reporter):
    step(reporter, 1)
    store.cancel(task.id)
    with pytest.raises(TaskCanceled):
        step(reporter, 2)
    with pytest.raises(TaskCanceled):
        step(reporter, 3)


def test_a_task_that_was_taken_over_ends_at_the_next_step(store, task, reporter):
    store.reclaim(["alice"])
    with pytest.raises(TaskCanceled):
        step(reporter, 1)


def test_a_store_that_is_away_ends_no_task(store, reporter):
    store.away = True
    for number in range(1, 6):
        step(reporter, number)


def test_a_store_that_hangs_holds_up_no_step_and_no_end(store, hasty_reporter):
    """They return although the store has not answered yet. The test fails if one of them waits for its answer."""
    store.go_on.clear()
    for number in range(1, 4):
        step(hasty_reporter, number)
    hasty_reporter.close()
    assert hasty_reporter._thread.is_alive(), "the store has answered"
    store.go_on.set()


def test_a_cancel_shows_once_the_store_is_back(store, task, reporter):
    store.away = True
    step(reporter, 1)
    store.cancel(task.id)
    step(reporter, 2)
    store.away = False
    with pytest.raises(TaskCanceled):
        step(reporter, 3)


def test_a_report_that_was_not_taken_is_written_with_the_next(store, task, reporter):
    store.away = True
    step(reporter, 1)
    store.away = False
    step(reporter, 2)
    assert store.get(task.id).step == 2


def test_an_answer_that_comes_late_still_counts(store, task, hasty_reporter):
    store.cancel(task.id)
    store.go_on.clear()
    step(hasty_reporter, 1)
    store.go_on.set()
    with hasty_reporter._changed:
        assert hasty_reporter._changed.wait_for(lambda: hasty_reporter._answered == 1, PATIENCE_S)
    with pytest.raises(TaskCanceled):
        step(hasty_reporter, 2)
    assert store.get(task.id).state == State.CANCELED

"""Retention of old rows, on every database."""

import time

import pytest
from sqlalchemy import update

from storage.db.engine import open_engine
from storage.db.schema import tasks
from storage.sql.retention import SqlRetentionStore
from storage.tasks import State, Task
from tests.storage.test_task_store import FAILURE, OUTPUT, claim_one, submit

LONG_AGO = 1_000_000.0


@pytest.fixture
def retention(store, database_url):
    engine = open_engine(database_url)
    yield SqlRetentionStore(engine)
    engine.dispose()


def end(store, state: State, ended_at: float | None = None) -> Task:
    """A task that ended in this state, at this time."""
    submit(store)
    task = claim_one(store)
    assert store.start_run(task)
    match state:
        case State.FAILED:
            assert store.fail(task, FAILURE)
        case State.CANCELED:
            assert store.cancel(task.id)
        case _:
            assert store.complete(task, OUTPUT)
    if state == State.DELETED:
        assert store.delete(task.id)
    if ended_at is not None:
        with store._engine.begin() as connection:
            connection.execute(update(tasks).where(tasks.c.id == task.id).values(finished_at=ended_at))
    return task


def test_only_completed_tasks_that_are_old_expire_and_keep_their_end(store, retention):
    old, young = end(store, State.COMPLETED, LONG_AGO), end(store, State.COMPLETED)
    failed, canceled = end(store, State.FAILED, LONG_AGO), end(store, State.CANCELED, LONG_AGO)
    submit(store)
    assert retention.expire(LONG_AGO + 1, 10) == [old.id]
    assert retention.expire(LONG_AGO + 1, 10) == []
    row = store.get(old.id)
    assert (row.state, row.finished_at) == (State.EXPIRED, LONG_AGO)
    states = [State.COMPLETED, State.FAILED, State.CANCELED]
    assert [store.get(task.id).state for task in (young, failed, canceled)] == states


def test_the_oldest_expire_first_and_no_more_than_asked(store, retention):
    ended = [end(store, State.COMPLETED, LONG_AGO + age) for age in (2, 0, 1)]
    assert set(retention.expire(time.time(), 2)) == {ended[1].id, ended[2].id}
    assert store.get(ended[0].id).state == State.COMPLETED


def test_rows_without_a_video_may_go_when_they_are_old(store, retention):
    gone = [end(store, state, LONG_AGO) for state in (State.FAILED, State.CANCELED, State.DELETED)]
    completed, young = end(store, State.COMPLETED, LONG_AGO), end(store, State.FAILED)
    old = retention.old(LONG_AGO + 1, 10)
    assert set(old) == {task.id for task in gone}
    retention.remove([*old, completed.id, young.id], LONG_AGO + 1)
    assert store.get_many(old) == []
    assert {store.get(completed.id).state, store.get(young.id).state} == {State.COMPLETED, State.FAILED}
    assert retention.old(LONG_AGO + 1, 10) == []


def test_a_task_that_was_queued_again_meanwhile_keeps_its_row(store, retention):
    task = end(store, State.FAILED, LONG_AGO)
    assert retention.old(LONG_AGO + 1, 10) == [task.id]
    assert store.retry(task.id)
    retention.remove([task.id], LONG_AGO + 1)
    assert store.get(task.id).state == State.QUEUED


def test_states_are_told_of_the_tasks_there_are(store, retention):
    failed, (queued,) = end(store, State.FAILED), submit(store)
    states = retention.states([failed.id, queued.id, "nobody"])
    assert states == {failed.id: State.FAILED, queued.id: State.QUEUED}

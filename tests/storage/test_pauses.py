"""The effect of an operator's pause, on every database."""

from storage.task_store import SqlTaskStore
from storage.tasks import State
from tests.storage.test_task_store import LEASE_S, MODEL, OUTPUT, claim_one, started, submit


def test_nothing_is_claimed_while_paused_and_the_oldest_first_after_it(store):
    first, second = submit(store, 2)
    assert store.pause()
    assert store.claim("alice", MODEL, 5, LEASE_S) == []
    (third,) = submit(store)
    assert store.resume()
    claimed = store.claim("alice", MODEL, 5, LEASE_S)
    assert [task.id for task in claimed] == [first.id, second.id, third.id]


def test_what_a_generator_has_started_goes_on_to_its_end(store):
    task = started(store)
    assert store.pause()
    assert store.owns_task(task)
    assert store.complete(task, OUTPUT)


def test_what_waits_at_a_generator_is_taken_back_without_counting_a_restart(store):
    submit(store)
    waiting = claim_one(store)
    assert store.pause()
    assert not store.start_run(waiting)
    row = store.get(waiting.id)
    assert (row.state, row.requeues, row.attempts) == (State.QUEUED, 0, 0)
    assert store.list_dispatchers() == []
    store.resume()
    assert store.start_run(claim_one(store))


def test_a_pause_holds_for_every_server_and_outlives_them(store, database_url):
    submit(store)
    assert store.paused_at() is None
    assert store.pause()
    assert not store.pause(), "it was paused already"
    later = SqlTaskStore.open(database_url)
    assert later.paused_at() == store.paused_at() is not None
    assert later.claim("bob", MODEL, 1, LEASE_S) == []
    assert later.resume()
    assert not later.resume(), "it was not paused"
    later.close()
    assert store.paused_at() is None
    assert claim_one(store)

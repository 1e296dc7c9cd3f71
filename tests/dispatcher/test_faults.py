"""Faults around two Dispatchers on one PostgreSQL with 20 tasks in flight. Each task ends once, with its true cause."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future

import pytest

from deployments.dispatcher import deployment, outcomes
from models.errors import StoreUnavailable
from models.request.request import VideoRequest
from storage.outputs.local import LocalOutputStore
from storage.tasks import NewTask, State
from tests.dispatcher.fakes import MODEL, Workers, all_end, dispatcher, end, kill, submit, until

pytestmark = pytest.mark.anyio
IN_FLIGHT = 20
LEASE_S = 5.0
LONGER_LEASE_S = 8.0
"""The time between the wake-up of the one and of the other, even on a busy machine."""


@pytest.fixture(autouse=True)
def short_of_breath(monkeypatch):
    for module in (deployment, outcomes):
        monkeypatch.setattr(module, "RETRY_DELAY_S", 0.05)


@pytest.fixture
def leased(settings):
    """The same settings with the shortest lease."""
    return settings.model_copy(update={"dispatcher": settings.dispatcher.model_copy(update={"lease_s": LEASE_S})})


async def test_what_a_lost_dispatcher_held_is_run_by_the_other_once_its_lease_has_lapsed(leased, store, workers):
    workers.render_s = 0.5
    lost, alive = (dispatcher(leased, workers, 1) for _ in range(2))
    ids = submit(store, IN_FLIGHT)
    await until(lambda: lost._running and alive._running)
    held = [task_id for task_id, _ in lost._running]
    await kill(lost)
    await all_end(store, ids)
    rows = store.get_many(ids)
    assert {row.id for row in rows if row.requeues} == set(held)
    assert {row.attempts for row in rows} == {0}
    await end(alive)


async def test_a_database_that_goes_away_and_comes_back_loses_no_task(leased, store, workers, postgres):
    """The database is away for longer than a lease. No Dispatcher takes over tasks whose lease could not be renewed."""
    workers.render_s = 0.2
    pair = [dispatcher(leased, workers, 1) for _ in range(2)]
    ids = submit(store, IN_FLIGHT)
    await until(lambda: len(workers.rendered) >= 4)
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(LEASE_S + 1)
    await asyncio.to_thread(postgres.start)
    await all_end(store, ids)
    assert sorted(workers.rendered) == sorted(ids), "each was rendered once"
    await end(*pair)


async def test_the_first_to_wake_takes_nothing_from_the_one_that_still_sleeps(settings, store, workers, tmp_path):
    """As after a suspend longer than a lease: the first to wake waits one lease to see which owners are alive."""
    knobs = settings.dispatcher.model_copy(update={"lease_s": LONGER_LEASE_S})
    settings = settings.model_copy(update={"dispatcher": knobs})
    sleepers_workers = Workers(store, LocalOutputStore(tmp_path), render_s=1.0)
    awake = dispatcher(settings, workers, 1)
    with loop_in_a_thread() as elsewhere:
        sleeper = await elsewhere(started(settings, sleepers_workers))
        ids = submit(store, IN_FLIGHT)
        await until(lambda: sleeper._running and awake._running)
        asleep, wake = threading.Event(), threading.Event()
        sleeper._loop.get_loop().call_soon_threadsafe(lambda: (asleep.set(), wake.wait()))
        try:
            await until(asleep.is_set)
            held = {task_id for task_id, _ in sleeper._running}
            time.sleep(LONGER_LEASE_S + 1)  # noqa: ASYNC251  # both are blocked, and this one wakes first
            before = len(workers.rendered)
            await until(lambda: len(workers.rendered) >= before + settings.generator.max_replicas + 2)
            restarts = {task.id: task.requeues for task in store.get_many(held)}
        finally:
            wake.set()
        assert restarts == dict.fromkeys(held, 0) != {}
        await all_end(store, ids)
        assert sorted(workers.rendered + sleepers_workers.rendered) == sorted(ids), "each was rendered once"
        await elsewhere(sleeper.end())
    await end(awake)


async def started(settings, workers):
    """A Dispatcher on the event loop of the caller."""
    return dispatcher(settings, workers, 1)


@contextlib.contextmanager
def loop_in_a_thread():
    """An event loop that can be blocked alone, like one in another process. Yields a function that awaits on it."""
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        over = asyncio.Event()
        begun.set_result((asyncio.get_running_loop(), over))
        await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    loop, over = begun.result(10)
    try:
        yield lambda work: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def test_a_task_that_kills_its_generator_every_time_fails_and_harms_no_other(settings, store, workers):
    one = dispatcher(settings, workers, 1)
    ids = submit(store, IN_FLIGHT)
    poison = ids[7]
    workers.deadly.add(poison)
    await until(lambda: all(task.is_finished for task in store.get_many(ids)))
    failed = store.get(poison)
    assert failed.state == State.FAILED
    assert failed.failure.code == "replica_lost"
    assert workers.rendered.count(poison) == settings.dispatcher.max_attempts
    await all_end(store, [task_id for task_id in ids if task_id != poison])
    await end(one)


async def test_a_full_output_store_fails_its_tasks_with_that_reason_and_the_next_ones_are_completed(
    settings, store, workers
):
    workers.store_is_full = True
    one = dispatcher(settings, workers, 1)
    ids = submit(store, 3)
    await until(lambda: all(task.is_finished for task in store.get_many(ids)))
    assert {task.failure.code for task in store.get_many(ids)} == {"storage_full"}
    assert all("no space left" in task.failure.message for task in store.get_many(ids))
    workers.store_is_full = False
    await all_end(store, submit(store, 3))
    await end(one)


class RefusingStore(LocalOutputStore):
    """A bucket whose policy denies some of the server's operations."""

    def stat(self, key: str) -> None:
        raise StoreUnavailable(f"{key}: 403")

    def delete(self, key: str) -> None:
        raise StoreUnavailable(f"{key}: 403")


async def test_an_output_store_that_refuses_for_good_holds_no_task_and_no_place_for_ever(
    settings, store, workers, tmp_path, monkeypatch
):
    """The store refuses to say whether a second run has a file already, and to delete the image of an ended task."""
    monkeypatch.setattr(outcomes, "STORE_TIMEOUT_S", 0.2)
    task_id = store.submit(NewTask(VideoRequest(prompt="x"), MODEL, "http://box", input_key="inputs/x")).id
    (before,) = store.claim("lost", MODEL, 1, 60)
    store.requeue(before, attempt_lost=False)
    alone = dispatcher(settings, workers, 1)
    alone._outputs = alone._outcomes._outputs = RefusingStore(tmp_path)
    await all_end(store, [task_id])
    await until(lambda: not alone._running)
    await end(alone)


async def test_tasks_start_in_the_order_of_their_arrival(settings, store, workers):
    one = dispatcher(settings, workers, 1)
    ids = submit(store, IN_FLIGHT)
    await all_end(store, ids)
    started = [store.get(task_id).started_at for task_id in ids]
    four = settings.generator.max_replicas + 1
    assert all(first <= later for first, later in zip(started, started[four:], strict=False))
    await end(one)

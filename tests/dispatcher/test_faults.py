"""Faults around two Dispatchers on one PostgreSQL with 20 tasks in flight: each ends once, or with its true reason."""

import asyncio
import time

import pytest

from deployments.dispatcher import deployment, outcomes
from storage.tasks import State
from tests.dispatcher.workers import all_end, dispatcher, end, kill, submit, until

pytestmark = pytest.mark.anyio
IN_FLIGHT = 20
LEASE_S = 5.0


@pytest.fixture(autouse=True)
def short_of_breath(monkeypatch):
    for module in (deployment, outcomes):
        monkeypatch.setattr(module, "BREATHER_S", 0.05)


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
    assert {row.id for row in rows if row.restarts} == set(held)
    assert {row.attempts for row in rows} == {0}
    await end(alive)


async def test_a_database_that_goes_away_and_comes_back_loses_no_task(leased, store, workers, postgres):
    """Away for longer than a lease: nobody takes over what lapsed only because nobody could renew."""
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


async def test_dispatchers_that_stood_still_for_longer_than_a_lease_take_nothing_from_each_other(
    leased, store, workers
):
    workers.render_s = 0.2
    pair = [dispatcher(leased, workers, 1) for _ in range(2)]
    ids = submit(store, IN_FLIGHT)
    await until(lambda: len(workers.rendered) >= 4)
    time.sleep(LEASE_S + 1)  # noqa: ASYNC251  # all loops at once, as on a machine that is suspended
    await all_end(store, ids)
    assert sorted(workers.rendered) == sorted(ids), "each was rendered once"
    await end(*pair)


async def test_a_task_that_kills_its_generator_every_time_fails_and_harms_no_other(settings, store, workers):
    one = dispatcher(settings, workers, 1)
    ids = submit(store, IN_FLIGHT)
    poison = ids[7]
    workers.deadly.add(poison)
    await until(lambda: all(task.finished for task in store.get_many(ids)))
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
    await until(lambda: all(task.finished for task in store.get_many(ids)))
    assert {task.failure.code for task in store.get_many(ids)} == {"storage_full"}
    assert all("no space left" in task.failure.message for task in store.get_many(ids))
    workers.store_is_full = False
    await all_end(store, submit(store, 3))
    await end(one)


async def test_tasks_start_in_the_order_of_their_arrival(settings, store, workers):
    one = dispatcher(settings, workers, 1)
    ids = submit(store, IN_FLIGHT)
    await all_end(store, ids)
    started = [store.get(task_id).started_at for task_id in ids]
    four = settings.generator.max_replicas + 1
    assert all(first <= later for first, later in zip(started, started[four:], strict=False))
    await end(one)

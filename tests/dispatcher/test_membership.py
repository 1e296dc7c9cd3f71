"""Several Dispatchers on one PostgreSQL share the Generators, and an upgrade hands over from one app to the next."""

import asyncio
import itertools
import os
import threading
import time

import pytest

from deployments.dispatcher import deployment, maintenance
from models.request.request import VideoRequest
from storage.db.engine import open_engine
from storage.db.schema import dispatchers
from storage.outputs.local import LocalOutputStore
from storage.outputs.store import output_key, poster_key
from storage.sql.dispatcher_registry import SqlDispatcherRegistry
from storage.tasks import NewTask, State
from tests.dispatcher.fakes import MODEL, PATIENCE_S, Workers, all_end, dispatcher, end, kill, submit, until

pytestmark = pytest.mark.anyio


async def test_two_dispatchers_render_each_task_once_and_keep_within_the_bound(settings, store, workers):
    pair = [dispatcher(settings, workers, 1) for _ in range(2)]
    await until(lambda: all(each._place.in_flight_limit == 2 for each in pair))
    ids = submit(store, 30)
    await all_end(store, ids)
    assert sorted(workers.rendered) == sorted(ids)
    assert workers.most_at_once <= 4, "max_replicas and the look-ahead"
    await end(*pair)


async def test_tasks_are_handed_over_in_the_order_of_their_arrival(settings, store, workers, monkeypatch):
    """Also where threads of the Dispatcher run at different speeds."""
    waits_s = itertools.cycle([0.2, 0.0])
    monkeypatch.setattr(deployment, "complete_if_published", lambda *_: time.sleep(next(waits_s)))
    workers.render_s = 0
    ids = submit(store, 12)
    alone = dispatcher(settings, workers, 1)
    await all_end(store, ids)
    assert [task.id for (task,) in workers.generator.generate.calls] == ids
    await end(alone)


async def test_the_share_of_a_lost_dispatcher_goes_to_the_other(settings, store, workers):
    lost, alive = (dispatcher(settings, workers, 1) for _ in range(2))
    await until(lambda: alive._place.in_flight_limit == 2)
    await kill(lost)
    await until(lambda: alive._place.in_flight_limit == 4)
    await all_end(store, submit(store, 5))
    await end(alive)


async def test_what_runs_at_a_shutdown_is_back_in_the_queue_at_once(settings, store, workers):
    workers.render_s = 60
    ended = dispatcher(settings, workers, 1)
    ids = submit(store, 3)
    await until(lambda: len(workers.rendered) == 3)
    await end(ended)
    rows = store.get_many(ids)
    assert {(row.state, row.attempts, row.requeues) for row in rows} == {(State.QUEUED, 0, 1)}
    workers.render_s = 0.05
    successor = dispatcher(settings, workers, 1)
    await all_end(store, ids)
    await end(successor)


async def test_what_a_claim_brings_during_a_shutdown_is_back_in_the_queue_too(settings, store, workers, monkeypatch):
    workers.render_s = 60
    ended = dispatcher(settings, workers, 1)
    claiming, may_claim, claim = threading.Event(), threading.Event(), ended._tasks.claim

    def slowly(*args):
        claiming.set()
        assert may_claim.wait(PATIENCE_S)
        return claim(*args)

    monkeypatch.setattr(ended._tasks, "claim", slowly)
    ids = submit(store, 2)
    await until(claiming.is_set)
    ending = asyncio.create_task(ended.end())
    apps = SqlDispatcherRegistry(store._engine)
    await until(lambda: not living(apps))
    may_claim.set()
    await ending
    assert store.list_dispatchers() == []
    assert {row.state for row in store.get_many(ids)} == {State.QUEUED}


def living(apps: SqlDispatcherRegistry) -> list[str]:
    with apps._engine.connect() as connection:
        living = dispatchers.select().where(dispatchers.c.alive_until > apps._now())
        return [row.name for row in connection.execute(living)]


async def test_a_drain_gives_running_tasks_their_time(settings, store, workers):
    workers.render_s = 0.5
    patient = settings.model_copy(
        update={"dispatcher": settings.dispatcher.model_copy(update={"drain_timeout_s": 10.0})}
    )
    ended = dispatcher(patient, workers, 1)
    ids = submit(store, 8)
    await until(lambda: len(workers.rendered) == 4)
    await end(ended)
    states = [row.state for row in sorted(store.get_many(ids), key=lambda row: row.sequence)]
    assert states == [State.COMPLETED] * 4 + [State.QUEUED] * 4


async def test_a_task_past_its_deadline_fails_and_frees_its_generator(settings, store, workers, monkeypatch):
    monkeypatch.setattr(maintenance, "CHECK_INTERVAL_S", 0.05)
    workers.render_s = 60
    alone = dispatcher(settings, workers, 1)
    task = store.submit(NewTask(VideoRequest(prompt="x", timeout_s=1), MODEL, "http://box:8004"))
    await until(lambda: workers.rendered == [task.id])
    await until(lambda: store.get(task.id).is_finished)
    assert store.get(task.id).failure.code == "timeout"
    await end(alone)


async def test_a_dispatcher_removes_what_is_too_old(settings, store, workers, tmp_path):
    outputs, orphan = LocalOutputStore(tmp_path), poster_key("0" * 32)
    outputs.put(orphan, b"poster")
    os.utime(tmp_path / orphan, (0, 0))
    alone = dispatcher(settings, workers, 1)
    await until(lambda: outputs.stat(orphan) is None)
    await end(alone)


async def test_the_newer_app_takes_over_once_it_is_ready_and_the_older_finishes_what_it_holds(
    settings, store, workers, tmp_path
):
    workers.render_s = 0.5
    newer_workers = Workers(store, LocalOutputStore(tmp_path), render_s=0.01)
    older = dispatcher(settings, workers, 1)
    held = submit(store, 4)
    await until(lambda: len(workers.rendered) == 4)
    newer = dispatcher(settings, newer_workers, 2)
    await until(lambda: newer._place.in_flight_limit and not older._place.in_flight_limit)
    later = submit(store, 10)
    await all_end(store, held + later)
    assert sorted(workers.rendered) == sorted(held)
    assert sorted(newer_workers.rendered) == sorted(later)
    await end(older, newer)


async def test_a_newer_app_that_never_becomes_ready_leaves_the_tasks_to_the_older(settings, store, workers, tmp_path):
    newer_workers = Workers(store, LocalOutputStore(tmp_path), render_s=0.01)
    older = dispatcher(settings, workers, 1)
    await until(lambda: older._app_runs and older._place.in_flight_limit)
    newer = dispatcher(settings, newer_workers, 2, ready=False)
    await all_end(store, submit(store, 10))
    assert newer_workers.rendered == []
    await end(older, newer)


async def test_the_older_app_claims_again_when_the_newer_dies(settings, store, workers):
    older = dispatcher(settings, workers, 1)
    newer = dispatcher(settings, workers, 2)
    await until(lambda: newer._place.in_flight_limit and not older._place.in_flight_limit)
    await kill(newer)
    await until(lambda: older._place.in_flight_limit)
    await all_end(store, submit(store, 5))
    await end(older)


async def test_an_app_alone_claims_before_it_is_ready(settings, store, workers):
    alone = dispatcher(settings, workers, 1, ready=False)
    await all_end(store, submit(store, 3))
    await end(alone)


async def test_a_task_whose_file_is_already_there_is_completed_and_not_rendered_again(
    settings, store, workers, tmp_path
):
    (task_id,) = submit(store, 1)
    (before,) = store.claim("lost", MODEL, 1, 60)
    store.start_run(before)
    outputs = LocalOutputStore(tmp_path)
    outputs.put(poster_key(task_id), b"jpeg")
    outputs.put(output_key(task_id), b"a finished video")
    store.requeue(before, attempt_lost=False)
    again = dispatcher(settings, workers, 1)
    await all_end(store, [task_id])
    assert workers.rendered == []
    output = store.get(task_id).output
    assert (output.key, output.poster_key) == (output_key(task_id), poster_key(task_id))
    assert (output.size_bytes, output.duration_s) == (16, before.request.duration_s)
    await end(again)


async def test_a_video_without_its_poster_is_rendered_again(settings, store, workers, tmp_path):
    (task_id,) = submit(store, 1)
    (before,) = store.claim("lost", MODEL, 1, 60)
    LocalOutputStore(tmp_path).put(output_key(task_id), b"half of what belongs there")
    store.requeue(before, attempt_lost=False)
    again = dispatcher(settings, workers, 1)
    await all_end(store, [task_id])
    assert workers.rendered == [task_id]
    await end(again)


def test_every_deploy_has_a_higher_number(settings):
    engine = open_engine(settings.database_url)
    numbers = [SqlDispatcherRegistry(engine).register() for _ in range(3)]
    engine.dispose()
    assert numbers == sorted(set(numbers))

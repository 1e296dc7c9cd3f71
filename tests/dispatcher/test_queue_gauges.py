"""The queue's gauges: the maximum over all Dispatchers is correct, whatever their number."""

import pytest

from deployments.dispatcher import queue_gauges
from deployments.dispatcher.queue_gauges import QueueGauges
from deployments.observability.metrics.definitions import (
    GENERATOR_LOST,
    GENERATORS,
    OLDEST_QUEUED_AGE_SECONDS,
    PAUSED,
    QUEUE_SAMPLED_TIMESTAMP_SECONDS,
    STAGE_DURATION_SECONDS,
    STATE,
    TASK_RETRIES,
    TASKS,
    TASKS_ENDED,
)
from models.progress import Stage
from models.timing import TimedStage
from storage.tasks import GeneratorReplica, ReplicaState
from tests.dispatcher.fakes import MODEL, dispatcher, end, kill, submit, until
from tests.metrics.recorded import RecordedMetrics


def total(recorded: RecordedMetrics) -> float:
    return sum(recorded.value(TASKS, state=state) or 0.0 for state in STATE.values)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_gauges, "SAMPLE_INTERVAL_S", 0.02)


@pytest.mark.anyio
@pytest.mark.usefixtures("often")
async def test_one_of_several_dispatchers_shows_the_queue_and_another_takes_over(settings, store, workers):
    workers.render_s = 600
    shown = [RecordedMetrics() for _ in range(2)]
    pair = [dispatcher(settings, workers, 1, metrics=recorded) for recorded in shown]
    await until(lambda: all(each._place.in_flight_limit == 2 for each in pair))
    submit(store, 9)
    await until(lambda: sorted(total(recorded) for recorded in shown) == [0, 9])
    await until(lambda: sum((recorded.value(QUEUE_SAMPLED_TIMESTAMP_SECONDS) or 0.0) > 0 for recorded in shown) == 1)
    speaker = max(range(2), key=lambda number: total(shown[number]))
    await kill(pair[speaker])
    await until(lambda: total(shown[1 - speaker]) == 9)
    await end(pair[1 - speaker])


@pytest.mark.anyio
async def test_lost_runs_and_failures_are_counted_where_they_are_settled(settings, store, workers):
    recorded = RecordedMetrics()
    alone = dispatcher(settings, workers, 1, metrics=recorded)
    (task_id,) = submit(store, 1)
    workers.deadly.add(task_id)
    await until(lambda: recorded.value(TASKS_ENDED, outcome="failed", code="replica_lost") == 1)
    assert recorded.value(TASK_RETRIES, reason=GENERATOR_LOST) == settings.dispatcher.max_attempts - 1
    assert len(recorded.seen(STAGE_DURATION_SECONDS, stage=TimedStage.CLAIM)) == 1
    await end(alone)


def test_a_census_says_where_tasks_stand_how_long_they_wait_and_what_generators_do(store):
    recorded = RecordedMetrics()
    submit(store, 3)
    for replica in (
        GeneratorReplica("a", MODEL, ReplicaState.READY),
        GeneratorReplica("b", "another", ReplicaState.READY),
    ):
        store.put_replica(replica)
    (task,) = store.claim("alice", MODEL, 1, 60)
    store.start_run(task)
    store.pause()
    QueueGauges(store, MODEL, recorded).publish_if_due(mine=True)
    assert recorded.value(PAUSED) == 1
    assert recorded.value(TASKS, state="queued") == 2
    assert recorded.value(TASKS, state=Stage.STARTING) == 1
    assert recorded.value(GENERATORS, state=ReplicaState.READY) == 1
    assert (recorded.value(OLDEST_QUEUED_AGE_SECONDS) or 0.0) > 0


@pytest.mark.usefixtures("often")
def test_who_no_longer_speaks_shows_nothing(store):
    recorded = RecordedMetrics()
    submit(store, 1)
    taker = QueueGauges(store, MODEL, recorded)
    taker.publish_if_due(mine=True)
    taker._taken_at -= 1
    taker.publish_if_due(mine=False)
    assert (
        total(recorded),
        recorded.value(OLDEST_QUEUED_AGE_SECONDS),
        recorded.value(QUEUE_SAMPLED_TIMESTAMP_SECONDS),
    ) == (0, 0, 0)

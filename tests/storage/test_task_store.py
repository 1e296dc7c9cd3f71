"""The contract of a task store: who owns a row, and what may happen to it."""

import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update

from models.checkpoint.profile import DISTILLED_SIGMAS, choose_profile
from models.errors import IdempotencyKeyReused, QueueFull, StoreUnavailable
from models.names import DEMO_MODEL_NAME, TINY_MODEL_NAME
from models.progress import Progress, Stage
from models.request.adjustments import Adjustment
from models.request.request import VideoRequest
from storage.db.engine import migrate, open_engine
from storage.db.schema import idempotency_keys, replicas, tasks
from storage.sql.dispatcher_registry import DispatcherRegistration, SqlDispatcherRegistry
from storage.sql.replicas import REPLICA_EXPIRY_S
from storage.sql.retention import SqlRetentionStore
from storage.sql.submit import IDEMPOTENCY_TTL_S
from storage.task_store import SqlTaskStore
from storage.tasks import (
    TERMINAL,
    TRANSITIONS,
    UNFINISHED,
    Failure,
    GeneratorReplica,
    Idempotency,
    NewTask,
    Output,
    QueueCounts,
    ReplicaState,
    RequestContext,
    ServedModel,
    State,
    Task,
)

MODEL = "Lightricks/LTX-2"
OUTPUT = Output("outputs/ltx2_x.mp4", "outputs/ltx2_x.jpg", 4.84, 1_234_567)
FAILURE = Failure("the sound was all zeros", "render_failed", retryable=False)
LEASE_S = 60.0
ADJUSTMENTS = (
    Adjustment("num_inference_steps", 40, 8, "a distilled model has fixed steps"),
    Adjustment("cfg_scale_video", 3.0, 1.0, "a distilled model has its guidance built in"),
)


def new_task(model: str = MODEL, prompt: str = "a lighthouse", **fields: object) -> NewTask:
    return NewTask(VideoRequest(prompt=prompt, **fields), model, "http://box:8004")


def submit(store: SqlTaskStore, count: int = 1) -> list[Task]:
    return [store.submit(new_task(prompt=f"number {number}")) for number in range(count)]


def claim_one(store: SqlTaskStore, dispatcher: str = "alice") -> Task:
    (task,) = store.claim(dispatcher, MODEL, 1, LEASE_S)
    return task


def started(store: SqlTaskStore) -> Task:
    submit(store)
    task = claim_one(store)
    assert store.start_run(task)
    return task


def let_leases_lapse(store: SqlTaskStore) -> None:
    """Simulate that a minute has passed."""
    with store._engine.begin() as connection:
        connection.execute(update(tasks).values(lease_until=tasks.c.lease_until - 10 * LEASE_S))


WRITES: dict[str, Callable[[SqlTaskStore, Task], bool]] = {
    "start": lambda store, task: store.start_run(task),
    "report": lambda store, task: store.report_progress(task, Progress(Stage.DENOISING, 1)),
    "adjust": lambda store, task: store.record_adjustments(task, ADJUSTMENTS),
    "complete": lambda store, task: store.complete(task, OUTPUT),
    "fail": lambda store, task: store.fail(task, FAILURE),
    "requeue": lambda store, task: store.requeue(task, attempt_lost=False),
    "lose": lambda store, task: store.requeue(task, attempt_lost=True),
}
"""Every write that needs a claim."""

HAND_OVERS: dict[str, Callable[[SqlTaskStore, Task], object]] = {
    "requeued": lambda store, task: store.requeue(task, attempt_lost=False),
    "attempt lost": lambda store, task: store.requeue(task, attempt_lost=True),
    "dispatcher dead": lambda store, _task: store.reclaim(["alice"]),
    "lease lapsed": lambda store, _task: (let_leases_lapse(store), store.reclaim([])),
}
"""Every way in which a task loses its owner and continues."""

ENDINGS: dict[State, Callable[[SqlTaskStore, Task], bool]] = {
    State.COMPLETED: WRITES["complete"],
    State.FAILED: WRITES["fail"],
    State.CANCELED: lambda store, task: store.cancel(task.id),
}


# -- submit and read


def test_a_submitted_task_reads_back_as_it_was_written(store):
    new = NewTask(VideoRequest(prompt="ночь \x00 🎥", seed=7, frame_rate=29.97), MODEL, "https://a.example", "inputs/x")
    task = store.submit(new)
    assert store.get(new.id) == task
    assert (task.id, task.request, task.model, task.base_url) == (new.id, new.request, MODEL, "https://a.example")
    assert (task.state, task.claim_token, task.attempts, task.requeues) == (State.QUEUED, 0, 0, 0)
    assert (task.input_key, task.stage, task.progress, task.output) == ("inputs/x", None, 0.0, None)
    assert abs(task.created_at - time.time()) < 60
    assert (task.started_at, task.finished_at, task.failure) == (None, None, None)


def test_an_unknown_task_is_none(store):
    assert store.get("nobody") is None
    assert store.get_many(["nobody"]) == []
    assert store.get_many([]) == []


@pytest.mark.parametrize("name", ["a\0b", "\0", "\ud800"])
def test_an_id_that_no_database_can_hold_is_unknown(store, name):
    (task,) = submit(store)
    assert store.get(name) is None
    assert store.get_many([name, task.id]) == [task]
    assert not store.cancel(name)


def test_texts_lose_what_no_database_can_hold(store):
    task = started(store)
    store.put_replica(GeneratorReplica("r1", MODEL, ReplicaState.FAILED, "no\0 file \udcff"))
    assert store.fail(task, Failure("bad\0 file \udcff", "render_failed", retryable=False))
    assert store.get(task.id).failure.message == "bad file ?"
    assert store.live_replicas()[0].message == "no file ?"


def test_task_ids_cannot_be_guessed():
    ids = {new_task().id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(task_id)) == 16 for task_id in ids)


def test_a_row_keeps_every_parameter_so_that_new_defaults_do_not_change_it(store):
    task = store.submit(new_task())
    with store._engine.connect() as connection:
        row = connection.execute(tasks.select()).one()
    assert set(VideoRequest.model_fields) <= set(VideoRequest.model_validate_json(row.request).model_fields_set)
    assert store.get(task.id) == task


def test_counts_are_of_unfinished_tasks(store):
    assert store.counts() == {State.QUEUED: 0, State.PROCESSING: 0}
    submit(store, 4)
    first, second = store.claim("alice", MODEL, 2, LEASE_S)
    store.start_run(first)
    store.cancel(second.id)
    assert store.counts() == {State.QUEUED: 2, State.PROCESSING: 1}


# -- idempotency and queue limit


def keyed(key: str = "k", digest: str = "d") -> NewTask:
    return replace(new_task(), idempotency=Idempotency(key, digest))


def test_one_key_is_one_task(store):
    first = store.submit(keyed())
    assert store.submit(keyed()) == first
    assert store.submit(keyed("another")).id != first.id
    with pytest.raises(IdempotencyKeyReused):
        store.submit(keyed(digest="e"))
    assert store.counts()[State.QUEUED] == 2


def test_of_many_submits_at_once_with_one_key_one_makes_a_task(store):
    for number in range(5):
        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda _, key=f"k{number}": store.submit(keyed(key)).id, range(6)))
        assert len(set(made)) == 1
    assert store.counts()[State.QUEUED] == 5


def test_a_key_is_forgotten_after_a_day(store):
    first = store.submit(keyed())
    store.submit(keyed("old"))
    with store._engine.begin() as connection:
        connection.execute(
            update(idempotency_keys).values(created_at=idempotency_keys.c.created_at - IDEMPOTENCY_TTL_S - 1)
        )
    assert store.submit(keyed(digest="e")).id != first.id
    with store._engine.connect() as connection:
        assert [row.key for row in connection.execute(idempotency_keys.select())] == ["k"]


@pytest.mark.parametrize("digest", ["d", "e"])
def test_a_key_whose_task_is_no_longer_kept_makes_a_new_one(store, digest):
    """As after the clock was set back: the key seems young, but retention has removed the row."""
    first = store.submit(keyed())
    store.cancel(first.id)
    SqlRetentionStore(store._engine).remove([first.id], time.time() + 60)
    second = store.submit(keyed(digest=digest))
    assert second.id != first.id
    assert store.submit(keyed(digest=digest)) == second


def test_tasks_of_another_model_take_no_place_in_the_queue(store):
    for _ in range(3):
        store.submit(new_task(model="gone"))
    store.submit(new_task(), 1)
    with pytest.raises(QueueFull, match="1 tasks wait"):
        store.submit(new_task(), 1)


def test_no_more_are_taken_than_may_wait(store):
    for _ in range(3):
        store.submit(new_task(), 3)
    with pytest.raises(QueueFull, match="3 tasks wait"):
        store.submit(keyed(), 3)
    store.start_run(claim_one(store))
    store.submit(keyed(), 3)


# -- the queue


def test_tasks_are_claimed_in_order_of_arrival(store):
    submitted = submit(store, 5)
    claimed = [*store.claim("alice", MODEL, 2, LEASE_S), *store.claim("bob", MODEL, 10, LEASE_S)]
    assert [task.id for task in claimed] == [task.id for task in submitted]


def test_only_tasks_of_the_served_model_are_claimed(store):
    store.submit(new_task(model="another"))
    mine = store.submit(new_task())
    assert [task.id for task in store.claim("alice", MODEL, 10, LEASE_S)] == [mine.id]


def test_queue_positions_count_up_from_one_and_move_up(store):
    first, second, third = submit(store, 3)
    assert [store.queue_position(task).position for task in (first, second, third)] == [1, 2, 3]
    store.start_run(claim_one(store))
    assert [store.queue_position(task).position for task in (second, third)] == [1, 2]
    store.cancel(second.id)
    assert store.queue_position(third).position == 1


def test_a_claimed_task_that_no_generator_started_reads_queued_and_keeps_its_place(store):
    first, second = submit(store, 2)
    claimed = claim_one(store)
    seen = store.get(first.id)
    assert (seen.state, seen.stage, seen.attempts, seen.started_at) == (State.QUEUED, None, 0, None)
    assert [store.queue_position(task).position for task in (first, second)] == [1, 2]
    assert store.requeue(claimed, attempt_lost=False)
    assert store.get(first.id).attempts == 0
    assert claim_one(store).id == first.id


def test_a_task_that_comes_back_keeps_its_place(store):
    first, second = submit(store, 2)
    task = claim_one(store)
    store.start_run(task)
    store.requeue(task, attempt_lost=True)
    assert [each.id for each in store.claim("bob", MODEL, 2, LEASE_S)] == [first.id, second.id]


def test_a_lost_attempt_counts_and_anything_else_is_a_restart(store):
    store.requeue(started(store), attempt_lost=True)
    again = claim_one(store)
    assert (again.attempts, again.requeues) == (1, 0)
    store.requeue(again, attempt_lost=False)
    store.claim("bob", MODEL, 1, LEASE_S)
    (back,) = store.reclaim(["bob"])
    assert (back.attempts, back.requeues) == (1, 2)


@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_than_asked_for_are_claimed(store, limit):
    submit(store, 50)
    for _ in range(5):
        assert len(store.claim("alice", MODEL, limit, LEASE_S)) == limit


# -- who owns a row


def test_a_claimed_task_is_claimed_by_nobody_else(store):
    submit(store)
    claim_one(store)
    assert store.claim("bob", MODEL, 10, LEASE_S) == []
    assert store.claim("alice", MODEL, 10, LEASE_S) == []


def test_dispatchers_in_threads_never_get_the_same_task(store):
    submit(store, 60)
    begin = threading.Barrier(4)

    def work(name: str) -> list[str]:
        begin.wait()
        taken: list[str] = []
        while claimed := store.claim(name, MODEL, 3, LEASE_S):
            taken += [task.id for task in claimed]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [task_id for names in pool.map(work, "abcd") for task_id in names]
    assert len(taken) == len(set(taken)) == 60


def _claim_all(url: str, name: str, begin, results) -> None:
    store = SqlTaskStore.open(url)
    begin.wait()
    taken: list[str] = []
    while claimed := store.claim(name, MODEL, 2, LEASE_S):
        taken += [task.id for task in claimed]
    results.put(taken)


def test_dispatchers_in_processes_never_get_the_same_task(store, database_url):
    submit(store, 40)
    spawn = multiprocessing.get_context("spawn")
    begin, results = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=_claim_all, args=(database_url, name, begin, results)) for name in "ab"]
    for worker in workers:
        worker.start()
    taken = [task_id for _ in workers for task_id in results.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert len(taken) == len(set(taken)) == 40


@pytest.mark.parametrize("hand_over", HAND_OVERS)
def test_the_claim_rises_whenever_the_task_changes_hands(store, hand_over):
    (task,) = submit(store)
    claims = [task.claim_token, claim_one(store).claim_token]
    HAND_OVERS[hand_over](store, store.get(task.id))
    claims += [store.get(task.id).claim_token, claim_one(store, "bob").claim_token]
    assert claims == sorted(set(claims))


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("hand_over", HAND_OVERS)
@pytest.mark.parametrize("write", WRITES)
def test_a_stale_claim_never_wins(store, write, hand_over, running):
    submit(store)
    stale = claim_one(store)
    if running:
        store.start_run(stale)
    HAND_OVERS[hand_over](store, stale)
    waiting = store.get(stale.id)
    assert not WRITES[write](store, stale)
    assert not store.owns_task(stale)
    assert store.get(stale.id) == waiting
    store.start_run(claim_one(store, "bob"))
    taken = store.get(stale.id)
    assert not WRITES[write](store, stale)
    assert not store.owns_task(stale)
    assert store.get(stale.id) == taken


def test_a_second_start_of_one_claim_does_not_win(store):
    assert not store.start_run(started(store))


def test_only_a_started_task_is_owned_reported_and_completed(store):
    submit(store)
    task = claim_one(store)
    assert not store.owns_task(task)
    assert not store.report_progress(task, Progress(Stage.DENOISING, 1))
    assert not store.complete(task, OUTPUT)
    store.start_run(task)
    assert store.owns_task(task)
    assert store.report_progress(task, Progress(Stage.DENOISING, 1))
    assert store.complete(task, OUTPUT)


def test_a_claimed_task_can_fail_before_it_starts(store):
    submit(store)
    task = claim_one(store)
    assert store.fail(task, FAILURE)
    assert store.get(task.id).failure == FAILURE


# -- leases


def test_a_living_dispatchers_tasks_are_left_alone(store):
    task = started(store)
    assert store.reclaim(["somebody else"]) == []
    assert store.reclaim([]) == []
    assert store.owns_task(task)


def test_a_dead_dispatchers_tasks_go_back_at_once(store):
    first, second = submit(store, 2)
    store.start_run(claim_one(store))
    claim_one(store)
    assert {task.id for task in store.reclaim(["alice"])} == {first.id, second.id}
    seen = store.get(first.id)
    assert (seen.state, seen.stage, seen.progress, seen.started_at) == (State.QUEUED, None, 0.0, None)
    assert [task.id for task in store.claim("bob", MODEL, 5, LEASE_S)] == [first.id, second.id]


def test_a_lapsed_lease_goes_back_and_a_renewed_one_does_not(store):
    lapsed, renewed = submit(store, 2)
    claim_one(store, "alice")
    claim_one(store, "bob")
    let_leases_lapse(store)
    store.renew_leases("bob", LEASE_S)
    assert [task.id for task in store.reclaim([])] == [lapsed.id]
    assert store.list_dispatchers() == ["bob"]
    assert store.get(renewed.id).claim_token == 1


def test_a_lease_lasts_as_long_as_was_said(store):
    submit(store, 2)
    store.claim("alice", MODEL, 1, 600)
    (short,) = store.claim("alice", MODEL, 1, 0.1)
    while not (reclaimed := store.reclaim([])):
        time.sleep(0.02)
    assert [task.id for task in reclaimed] == [short.id]
    assert store.list_dispatchers() == ["alice"]


def test_renewing_takes_nothing_back_that_was_reclaimed(store):
    task = started(store)
    store.reclaim(["alice"])
    store.renew_leases("alice", LEASE_S)
    assert store.list_dispatchers() == []
    assert claim_one(store, "bob").id == task.id


def test_claimants_are_those_who_hold_tasks(store):
    submit(store, 4)
    for name in ("alice", "bob", "carol"):
        task = claim_one(store, name)
    store.cancel(task.id)
    assert sorted(store.list_dispatchers()) == ["alice", "bob"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ended_task_is_held_by_nobody(store, ending):
    task = started(store)
    assert ENDINGS[ending](store, task)
    assert store.list_dispatchers() == []
    assert store.reclaim(["alice"]) == []


# -- retry by an operator


def test_a_failed_task_is_queued_again_as_if_it_were_new(store):
    first, second = store.submit(new_task(timeout_s=100)), store.submit(new_task())
    store.requeue(claim_one(store), attempt_lost=True)
    store.requeue(claim_one(store), attempt_lost=False)
    stale = claim_one(store)
    store.start_run(stale)
    store.report_progress(stale, Progress(Stage.DENOISING, 5))
    store.fail(stale, FAILURE)
    assert store.retry(first.id)
    again = store.get(first.id)
    assert again == replace(first, claim_token=again.claim_token)
    let_time_pass(store, 1000)
    assert store.fail_overdue() == [], "the deadline was of the first try"
    assert not any(write(store, stale) for write in WRITES.values())
    assert [task.id for task in store.claim("bob", MODEL, 5, LEASE_S)] == [first.id, second.id], "in its old place"


def test_a_task_whose_image_went_when_it_failed_is_not_queued_again(store):
    store.submit(replace(new_task(), input_key="inputs/x"))
    task = claim_one(store)
    store.fail(task, FAILURE)
    failed = store.get(task.id)
    assert not store.retry(task.id)
    assert store.get(task.id) == failed


def test_only_a_failed_task_is_queued_again(store):
    (task,) = submit(store)
    assert not store.retry(task.id)
    task = claim_one(store)
    assert not store.retry(task.id)
    store.start_run(task)
    assert not store.retry(task.id)
    store.complete(task, OUTPUT)
    assert not store.retry(task.id)
    store.delete(task.id)
    assert not store.retry(task.id)
    assert not any(store.retry(name) for name in ("nobody", "a\0b", "\ud800"))


def test_of_two_hands_that_queue_it_again_one_wins(store):
    task = started(store)
    store.fail(task, FAILURE)
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda _: store.retry(task.id), range(4)))
    assert won.count(True) == 1
    assert store.get(task.id).claim_token == task.claim_token + 1


# -- progress


def test_a_report_is_what_a_poll_reads(store):
    task = started(store)
    store.report_progress(task, Progress(Stage.DENOISING, 20))
    seen = store.get(task.id)
    assert (seen.state, seen.stage, seen.step) == (State.PROCESSING, Stage.DENOISING, 20)
    assert seen.progress == pytest.approx(0.45)
    store.report_progress(task, Progress(Stage.LOADING, 0, 5, 10))
    assert (store.get(task.id).bytes_done, store.get(task.id).bytes_total) == (5, 10)


reports = st.builds(
    Progress, st.sampled_from(Stage), st.integers(0, 40), st.integers(0, 50_000_000_000), st.integers(0, 50_000_000_000)
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(reports, max_size=8))
def test_progress_never_falls_within_an_attempt_whatever_is_reported(store, reported):
    task = started(store)
    shown = [store.get(task.id).progress]
    for progress in reported:
        assert store.report_progress(task, progress)
        shown.append(store.get(task.id).progress)
    assert shown == sorted(shown)
    assert all(0 <= each <= 1 for each in shown)
    assert store.complete(task, OUTPUT)
    assert store.get(task.id).progress == 1


def test_a_new_attempt_begins_at_zero(store):
    task = started(store)
    store.report_progress(task, Progress(Stage.DECODING, 40))
    store.requeue(task, attempt_lost=True)
    again = claim_one(store)
    store.start_run(again)
    assert (store.get(task.id).progress, store.get(task.id).step) == (0.0, 0)


# -- the end


@pytest.mark.parametrize("held", ["waiting", "claimed", "running"])
def test_a_task_can_be_canceled_until_it_has_ended(store, held):
    (task,) = submit(store)
    if held != "waiting":
        task = claim_one(store)
    if held == "running":
        store.start_run(task)
    assert store.cancel(task.id)
    assert store.get(task.id).state == State.CANCELED
    assert not store.cancel(task.id)
    assert not any(write(store, task) for write in WRITES.values())
    assert not store.owns_task(task)
    assert store.claim("bob", MODEL, 1, LEASE_S) == []


def test_canceling_an_unknown_task_wins_nothing(store):
    assert not store.cancel("nobody")


def test_a_completed_task_names_its_files(store):
    task = started(store)
    assert store.complete(task, OUTPUT)
    seen = store.get(task.id)
    assert (seen.state, seen.output, seen.failure, seen.stage) == (State.COMPLETED, OUTPUT, None, None)
    assert seen.created_at <= seen.started_at <= seen.finished_at
    assert seen.is_finished


def test_a_failed_task_says_why(store):
    task = started(store)
    assert store.fail(task, FAILURE)
    seen = store.get(task.id)
    assert (seen.state, seen.failure, seen.output) == (State.FAILED, FAILURE, None)
    assert seen.finished_at is not None


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_end_is_final(store, ending):
    task = started(store)
    assert ENDINGS[ending](store, task)
    ended = store.get(task.id)
    assert ended.state == ending
    assert not any(write(store, task) for write in (*WRITES.values(), *ENDINGS.values()))
    let_leases_lapse(store)
    store.renew_leases("alice", LEASE_S)
    assert store.reclaim(["alice"]) == []
    assert store.fail_unserved("another", 0) == []
    assert store.get(task.id) == ended


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_end_is_told_once_with_the_row_as_it_ended(store, ending):
    told: list[Task] = []
    watched = SqlTaskStore(store._engine, told.append)
    task = started(watched)
    assert told == []
    assert ENDINGS[ending](watched, task)
    assert told == [store.get(task.id)]
    assert not ENDINGS[ending](watched, task)
    watched.delete(task.id)
    assert len(told) == 1


def test_the_end_of_tasks_that_nobody_works_on_is_told_too(store):
    told: list[Task] = []
    watched = SqlTaskStore(store._engine, told.append)
    watched.submit(new_task(timeout_s=0.001))
    watched.submit(new_task(model="another"))
    time.sleep(0.01)
    watched.fail_overdue()
    watched.fail_unserved(MODEL, 0)
    assert [task.failure.code for task in told] == ["timeout", "model_not_served"]


def test_a_census_counts_the_tasks_of_a_model_by_where_they_stand(store):
    assert store.count_queue(MODEL) == QueueCounts({}, None)
    submit(store, 4)
    store.submit(new_task(model="another"))
    first, second, _ = store.claim("alice", MODEL, 3, LEASE_S)
    for task in (first, second):
        store.start_run(task)
    store.report_progress(first, Progress(Stage.DENOISING, 1))
    found = store.count_queue(MODEL)
    assert found.counts_by_stage == {"queued": 2, "starting": 1, "denoising": 1}
    assert 0 < found.oldest_queued_s < 600
    store.cancel(first.id)
    assert store.count_queue(MODEL).counts_by_stage == {"queued": 2, "starting": 1}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ended_task_is_deleted_once_and_for_good(store, ending):
    task = started(store)
    assert not store.delete(task.id)
    ENDINGS[ending](store, task)
    ended = store.get(task.id)
    assert store.delete(task.id)
    assert not store.delete(task.id)
    assert not any(write(store, task) for write in (*WRITES.values(), *ENDINGS.values()))
    assert store.get(task.id) == replace(ended, state=State.DELETED)
    assert not store.delete("nobody")


def test_a_page_holds_the_newest_of_the_states_that_are_asked_for(store):
    ids = [each.id for each in submit(store, 6)]
    store.start_run(claim_one(store))
    store.cancel(ids[4])
    assert [each.id for each in store.page(UNFINISHED, 3)] == [ids[5], ids[3], ids[2]]
    assert [each.id for each in store.page(UNFINISHED, 9, store.get(ids[2]).sequence)] == [ids[1], ids[0]]
    assert [each.id for each in store.page([State.CANCELED], 9)] == [ids[4]]
    assert store.page([], 9) == []
    oldest = store.page(UNFINISHED, 3, oldest_first=True)
    assert [each.id for each in oldest] == [ids[0], ids[1], ids[2]]
    following = store.page(UNFINISHED, 9, oldest[-1].sequence, oldest_first=True)
    assert [each.id for each in following] == [ids[3], ids[5]]


def test_one_of_two_endings_wins(store):
    for _ in range(10):
        task = started(store)
        with ThreadPoolExecutor(3) as pool:
            won = list(pool.map(lambda end, task=task: end(store, task), ENDINGS.values()))
        assert won.count(True) == 1
        assert store.get(task.id).state == list(ENDINGS)[won.index(True)]


def test_waiting_tasks_of_a_model_that_nobody_serves_fail_after_a_while(store):
    old = store.submit(new_task(model="gone"))
    mine = store.submit(new_task())
    assert store.fail_unserved(MODEL, 3600) == []
    time.sleep(0.01)
    assert [task.id for task in store.fail_unserved(MODEL, 0.001)] == [old.id]
    seen = store.get(old.id)
    assert (seen.state, seen.failure.code, seen.failure.retryable) == (State.FAILED, "model_not_served", True)
    assert MODEL in seen.failure.message
    assert store.get(mine.id).state == State.QUEUED


def test_tasks_that_another_server_works_on_are_not_orphans(store):
    submit(store, 2)
    store.start_run(claim_one(store))
    claim_one(store)
    time.sleep(0.01)
    assert store.fail_unserved("another", 0) == []


def test_a_model_that_another_app_of_the_database_serves_has_no_orphans(store):
    apps = SqlDispatcherRegistry(store._engine)
    waiting = store.submit(new_task(model="theirs"))
    apps.heartbeat(DispatcherRegistration("their dispatcher", apps.register(), "theirs", ready=True), 60)
    assert store.fail_unserved(MODEL, -1) == []
    apps.deregister("their dispatcher")
    assert [task.id for task in store.fail_unserved(MODEL, -1)] == [waiting.id]


@pytest.mark.parametrize("how", ["in peace", "killed"])
def test_a_server_that_restarts_finds_its_queue_however_old(store, how):
    """While another server on the same database, for another model, looks for orphaned tasks."""
    apps = SqlDispatcherRegistry(store._engine)
    waiting = store.submit(new_task(model="theirs"))
    let_time_pass(store, 10_000)
    theirs = DispatcherRegistration("their dispatcher", apps.register(), "theirs", ready=True)
    apps.heartbeat(theirs, -30 if how == "killed" else 60)
    if how == "in peace":
        apps.deregister(theirs.name)
    assert store.fail_unserved(MODEL, 3600) == []
    apps.heartbeat(theirs, -3601)
    assert [task.id for task in store.fail_unserved(MODEL, 3600)] == [waiting.id]


def test_orphans_fail_in_lots_and_each_model_has_its_own(store):
    for model in ("gone", "lost"):
        for owner in ("alice", "bob"):
            for _ in range(2):
                store.submit(replace(new_task(model=model), owner=owner))
    lots = [store.fail_unserved(MODEL, -1, 3) for _ in range(3)]
    assert [sorted(task.model for task in lot) for lot in lots] == [["gone"] * 3 + ["lost"] * 3, ["gone", "lost"], []]


def in_words_of_tomorrow(store: SqlTaskStore, task: Task) -> None:
    """Simulate a task accepted by a newer version of the server, with an additional quality."""
    request = task.request.model_dump_json().replace('"exact"', '"of_tomorrow"')
    with store._engine.begin() as connection:
        connection.execute(update(tasks).where(tasks.c.id == task.id).values(request=request))


def test_what_only_a_newer_version_can_read_fails_and_holds_up_no_other(store):
    """As after a rollback to an older version: its Dispatcher would meet the row at every claim."""
    unknown = store.submit(new_task())
    in_words_of_tomorrow(store, unknown)
    (known,) = submit(store)
    assert [task.id for task in store.claim("alice", MODEL, 2, LEASE_S)] == [known.id]
    with store._engine.connect() as connection:
        row = connection.execute(tasks.select().where(tasks.c.id == unknown.id)).one()
    assert (row.state, row.error_code, row.dispatcher) == (State.FAILED, "not_known", None)


def test_who_follows_many_tasks_is_not_held_up_by_one_that_only_a_newer_version_can_read(store):
    unknown, known = submit(store, 2)
    in_words_of_tomorrow(store, unknown)
    assert [task.id for task in store.get_many([unknown.id, known.id])] == [known.id]


def test_a_list_goes_on_past_what_only_a_newer_version_can_read(store):
    """Its pages stay full: clients treat a short page as the last one."""
    first, *unknown, third, fourth = submit(store, 6)
    for each in unknown:
        in_words_of_tomorrow(store, each)
    assert [task.id for task in store.page(UNFINISHED, 3)] == [fourth.id, third.id, first.id]
    assert [task.id for task in store.page(UNFINISHED, 2, oldest_first=True)] == [first.id, third.id]
    assert [task.id for task in store.page(UNFINISHED, 9, third.sequence)] == [first.id]


@pytest.mark.parametrize(
    "end",
    [
        lambda store: store.reclaim(["alice"]),
        lambda store: store.renew_leases("alice", LEASE_S),
        lambda store: let_time_pass(store, 200) or store.fail_overdue(),
    ],
    ids=["reclaimed", "renewed", "overdue"],
)
def test_the_housekeeping_is_not_held_up_by_what_only_a_newer_version_can_read(store, end):
    held = store.submit(new_task(timeout_s=100, webhook_url="https://hooks.example/"))
    claim_one(store)
    in_words_of_tomorrow(store, held)
    assert not end(store)
    waiting = store.submit(new_task())
    assert [task.id for task in store.claim("bob", MODEL, 2, LEASE_S)] == [waiting.id]


def let_time_pass(store: SqlTaskStore, seconds: float) -> None:
    """Move all times of the tasks back."""
    earlier = {name: tasks.c[name] - seconds for name in ("created_at", "started_at", "deadline_at")}
    with store._engine.begin() as connection:
        connection.execute(update(tasks).values(earlier))


@pytest.mark.parametrize("held", ["waiting", "claimed", "running"])
def test_a_task_that_is_not_done_by_its_deadline_fails(store, held):
    task = store.submit(new_task(timeout_s=100))
    if held != "waiting":
        task = claim_one(store)
    if held == "running":
        store.start_run(task)
    let_time_pass(store, 40)
    assert store.fail_overdue() == []
    let_time_pass(store, 70)
    assert [each.id for each in store.fail_overdue()] == [task.id]
    assert store.fail_overdue() == []
    seen = store.get(task.id)
    assert (seen.state, seen.failure.code, seen.failure.retryable) == (State.FAILED, "timeout", True)
    assert not any(write(store, task) for write in WRITES.values())
    assert store.list_dispatchers() == []


def test_what_is_overdue_fails_in_lots_the_longest_overdue_first(store):
    late = [store.submit(new_task(timeout_s=seconds)).id for seconds in (30, 10, 20)]
    let_time_pass(store, 100)
    assert {task.id for task in store.fail_overdue(2)} == {late[1], late[2]}
    assert [task.id for task in store.fail_overdue(2)] == [late[0]]


def test_without_a_deadline_and_after_the_end_nothing_is_overdue(store):
    store.submit(new_task())
    done = store.submit(new_task(timeout_s=100))
    store.cancel(done.id)
    let_time_pass(store, 10**6)
    assert store.fail_overdue() == []


@pytest.mark.parametrize("lost", ["generator", "dispatcher"])
def test_a_download_that_ends_with_its_worker_does_not_count_either(store, lost):
    store.submit(new_task(timeout_s=100))
    task = claim_one(store)
    store.start_run(task)
    store.report_progress(task, Progress(Stage.DOWNLOADING, 0, 1, 10))
    let_time_pass(store, 300)
    assert store.requeue(task, attempt_lost=True) if lost == "generator" else store.reclaim(["alice"])
    assert store.fail_overdue() == []
    let_time_pass(store, 110)
    assert [each.id for each in store.fail_overdue()] == [task.id]


def test_a_download_of_the_model_does_not_count(store):
    store.submit(new_task(timeout_s=100))
    task = claim_one(store)
    store.start_run(task)
    store.report_progress(task, Progress(Stage.DOWNLOADING, 0, 1, 10))
    let_time_pass(store, 1000)
    assert store.fail_overdue() == []
    store.report_progress(task, Progress(Stage.LOADING, 0))
    let_time_pass(store, 90)
    store.report_progress(task, Progress(Stage.DENOISING, 1))
    assert store.fail_overdue() == []
    let_time_pass(store, 11)
    assert [each.id for each in store.fail_overdue()] == [task.id]


moves = st.lists(
    st.sampled_from(
        ["claim", "start", "report", "complete", "fail", "requeue", "lose", "cancel", "delete", "reclaim", "lapse"]
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
def test_whatever_happens_a_task_moves_as_the_table_of_transitions_says(store, moves):
    (seen,) = submit(store)
    held = [seen]
    for move in moves:
        match move:
            case "claim":
                held += [task for task in store.claim("alice", MODEL, 50, LEASE_S) if task.id == seen.id]
                won = None
            case "cancel":
                won = store.cancel(seen.id)
            case "delete":
                won = store.delete(seen.id)
            case "reclaim":
                won = seen.id in {task.id for task in store.reclaim(["alice"])}
            case "lapse":
                let_leases_lapse(store)
                won = seen.id in {task.id for task in store.reclaim([])}
            case _:
                won = WRITES[move](store, held[-1])
        before, seen = seen, store.get(seen.id)
        assert before.state == seen.state or seen.state in TRANSITIONS[before.state]
        assert before.claim_token <= seen.claim_token
        assert won is None or won == (before != seen) or (won and move in ("report", "requeue", "lose"))
        if before.state in TERMINAL and move != "delete":
            assert seen == before


# -- generators and models


def test_a_replica_is_as_it_last_described_itself(store):
    store.put_replica(GeneratorReplica("r1", MODEL, ReplicaState.LOADING, "", 5, 10))
    store.put_replica(GeneratorReplica("r1", MODEL, ReplicaState.READY))
    store.put_replica(GeneratorReplica("r2", MODEL, ReplicaState.FAILED, "no memory"))
    assert sorted(store.live_replicas(), key=lambda each: each.id) == [
        GeneratorReplica("r1", MODEL, ReplicaState.READY),
        GeneratorReplica("r2", MODEL, ReplicaState.FAILED, "no memory"),
    ]
    store.delete_replica("r1")
    assert [each.id for each in store.live_replicas()] == ["r2"]


def test_a_silent_replica_is_taken_for_dead(store):
    store.put_replica(GeneratorReplica("r1", MODEL, ReplicaState.READY))
    with store._engine.begin() as connection:
        connection.execute(update(replicas).values(updated_at=replicas.c.updated_at - REPLICA_EXPIRY_S - 1))
    assert store.live_replicas() == []
    store.delete_replica("another")
    with store._engine.connect() as connection:
        assert connection.execute(replicas.select()).all() == []


def test_a_built_in_model_is_never_the_last_real_one(store):
    assert store.last_real_model() is None
    store.record_model(ServedModel(DEMO_MODEL_NAME))
    store.record_model(ServedModel(TINY_MODEL_NAME))
    assert store.last_real_model() is None
    store.record_model(ServedModel("first"))
    store.record_model(ServedModel("second"))
    store.record_model(ServedModel(TINY_MODEL_NAME))
    assert store.last_real_model() == "second"
    store.record_model(ServedModel("first"))
    assert store.last_real_model() == "first"


def test_what_a_generator_learned_of_a_model_is_kept_until_it_is_forgotten(store):
    assert store.served_model("first") == ServedModel("first")
    recipes = (choose_profile({}), replace(choose_profile({"use_prompt_embeddings": False}), sigmas=DISTILLED_SIGMAS))
    for profile in recipes:
        store.record_model(ServedModel("first", profile, 9_000_000_000))
        assert store.served_model("first") == ServedModel("first", profile, 9_000_000_000)
    store.delete_model_info()
    assert store.served_model("first") == ServedModel("first")
    assert store.last_real_model() == "first"


def test_the_room_of_a_model_is_the_least_of_its_generators(store):
    def load(name, room_bytes):
        store.put_replica(GeneratorReplica(name, MODEL, ReplicaState.READY, free_vram_bytes=room_bytes))
        store.record_model(ServedModel(MODEL, choose_profile({}), room_bytes))

    def room():
        return store.served_model(MODEL).free_vram_bytes

    store.put_replica(GeneratorReplica("x", "another", ReplicaState.READY, free_vram_bytes=1))
    store.put_replica(GeneratorReplica("y", MODEL, ReplicaState.LOADING))
    load("small", 9_000_000_000)
    load("large", 40_000_000_000)
    assert room() == 9_000_000_000
    store.delete_replica("large")
    store.delete_replica("small")
    assert room() == 9_000_000_000, "one like it may come again"
    load("large", 40_000_000_000)
    assert room() == 40_000_000_000
    store.delete_model_info()
    assert room() is None


def test_generators_that_load_a_model_at_once_do_not_trip_over_each_other(store):
    begin = threading.Barrier(4)

    def remember(number):
        begin.wait()
        for _ in range(10):
            store.record_model(ServedModel(MODEL, choose_profile({}), number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(remember, range(1, 5)))
    assert store.served_model(MODEL).free_vram_bytes in range(1, 5)


def test_rendering_begins_once_and_again_with_another_start(store):
    task = started(store)

    def rendering_at():
        return store.get(task.id).rendering_at

    store.report_progress(task, Progress(Stage.LOADING))
    assert rendering_at() is None
    before = time.time()
    store.report_progress(task, Progress(Stage.DENOISING))
    first = rendering_at()
    assert before <= first <= time.time()
    store.report_progress(task, Progress(Stage.DENOISING, 1))
    store.report_progress(task, Progress(Stage.DECODING))
    assert rendering_at() == first
    assert store.requeue(task, attempt_lost=False)
    assert rendering_at() is None


def test_a_row_remembers_what_was_left_out(store):
    task = store.submit(NewTask(VideoRequest(prompt="a cat", num_inference_steps=40), MODEL, "http://box"))
    assert task.request.model_fields_set == {"prompt", "num_inference_steps"}
    assert task.request == VideoRequest(prompt="a cat", num_inference_steps=40)


def test_many_threads_write_without_being_refused(store):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: store.submit(new_task()), range(150)))
    assert store.counts()[State.QUEUED] == 150


def test_a_store_opened_anew_finds_everything(store, database_url):
    task = started(store)
    engine = open_engine(database_url)
    migrate(engine)
    again = SqlTaskStore(engine)
    assert again.get(task.id) == store.get(task.id)
    again.close()


# -- what a model cannot use


def test_adjustments_are_kept_beside_the_request_and_the_last_word_counts(store):
    task = started(store)
    assert store.record_adjustments(task, ADJUSTMENTS)
    adjusted = store.get(task.id)
    assert adjusted.adjustments == ADJUSTMENTS
    assert adjusted.request == task.request
    assert adjusted.rendered_request.num_inference_steps == 8
    assert store.record_adjustments(task, ())
    assert store.get(task.id).adjustments == ()


def test_the_progress_of_an_adjusted_task_counts_the_steps_that_it_takes(store):
    task = started(store)
    store.record_adjustments(task, ADJUSTMENTS)
    store.report_progress(store.get(task.id), Progress(Stage.DENOISING, 8))
    assert store.get(task.id).progress == pytest.approx(Progress(Stage.DENOISING, 8).fraction(8))


def test_the_request_that_a_task_came_with_is_kept_through_its_life(store):
    origin = RequestContext("request-7", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    submitted = store.submit(replace(new_task(), context=origin))
    assert submitted.context == origin
    task = claim_one(store)
    assert store.requeue(task, attempt_lost=True)
    assert claim_one(store).context == origin
    assert store.submit(new_task()).context == RequestContext()


def test_an_error_of_the_database_shows_no_prompt(store):
    """The error is logged with its traceback, and the statement's values contain the prompt."""
    secret = "a lighthouse"
    with store._engine.begin() as connection:
        connection.execute(text("ALTER TABLE tasks RENAME TO elsewhere"))
    with pytest.raises(StoreUnavailable) as caught:
        store.submit(new_task(prompt=secret))
    told = "".join(traceback.format_exception(caught.value))
    assert "INSERT INTO tasks" in told
    assert secret not in told


def test_a_server_is_superseded_while_a_newer_one_is_ready_and_serves_its_model(store):
    apps = SqlDispatcherRegistry(store._engine)
    older, newer = apps.register(), apps.register()
    apps.heartbeat(DispatcherRegistration("old", older, MODEL, ready=True), 60)
    apps.heartbeat(DispatcherRegistration("of another model", newer, "theirs", ready=True), 60)
    apps.heartbeat(DispatcherRegistration("new", newer, MODEL, ready=False), 60)
    assert not apps.is_superseded(older, MODEL)
    apps.heartbeat(DispatcherRegistration("new", newer, MODEL, ready=True), 60)
    assert apps.is_superseded(older, MODEL)
    assert not apps.is_superseded(newer, MODEL)
    apps.deregister("new")
    assert not apps.is_superseded(older, MODEL), "the newer one has ended, or died"


def test_a_rollback_is_the_newest_server(store):
    """The old version is deployed again as a new app, and supersedes the one that had superseded it."""
    apps = SqlDispatcherRegistry(store._engine)
    numbers = {name: apps.register() for name in ("v1", "v2", "v1 again")}
    for name, number in numbers.items():
        apps.heartbeat(DispatcherRegistration(name, number, MODEL, ready=True), 60)
    assert [apps.is_superseded(number, MODEL) for number in numbers.values()] == [True, True, False]

"""The contract of fair claims: owners take turns by their weights. A thousand tasks of one do not starve another."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from models.errors import QueueFull
from models.request.adjustments import Adjustment
from models.request.request import VideoRequest
from storage.db.engine import open_engine
from storage.db.schema import fair_queue_state, tasks
from storage.fair_queue import Quota, task_cost
from storage.sql.claims import _ClaimRun
from storage.sql.index_scans import IndexScans
from storage.task_store import SqlTaskStore
from storage.tasks import ANONYMOUS, NewTask, QueuePosition, State, Task

MODEL = "Lightricks/LTX-2"


@pytest.fixture
def open_store(database_url):
    """A function that opens the database with the given quotas."""
    opened: list[SqlTaskStore] = []

    def open_it(**shares: Quota) -> SqlTaskStore:
        opened.append(SqlTaskStore.open(database_url, quotas=shares))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def submit(store: SqlTaskStore, owner: str, count: int = 1, model: str = MODEL, **fields: object) -> list[Task]:
    request = VideoRequest(prompt="a lighthouse", **fields)
    return [store.submit(NewTask(request, model, "http://box", owner=owner)) for _ in range(count)]


def claim(store: SqlTaskStore, limit: int = 1) -> list[Task]:
    return store.claim("alice's dispatcher", MODEL, limit, 60)


def end(store: SqlTaskStore, task: Task) -> None:
    assert store.cancel(task.id)


def owners(claimed: list[Task]) -> str:
    """The owners of the claimed tasks, one letter each."""
    return "".join(task.owner[0] for task in claimed)


def one_by_one(store: SqlTaskStore, count: int) -> str:
    """The order of the owners when each task is claimed alone and ends before the next claim."""
    served = ""
    for _ in range(count):
        claimed = claim(store)
        served += owners(claimed)
        for task in claimed:
            end(store, task)
    return served


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_one_owner_alone_is_served_in_order_of_arrival(store, limit):
    waiting = submit(store, ANONYMOUS, 7)
    claimed: list[Task] = []
    while more := claim(store, limit):
        claimed += more
    assert [task.id for task in claimed] == [task.id for task in waiting]


def test_one_task_does_not_wait_for_anothers_thousand(store):
    submit(store, "alice", 50)
    assert one_by_one(store, 10) == "a" * 10
    submit(store, "bob")
    assert "b" in one_by_one(store, 2)


def test_owners_take_turns(store):
    submit(store, "alice", 6)
    submit(store, "bob", 6)
    submit(store, "carol", 3)
    assert one_by_one(store, 9) == "abcabcabc"
    assert one_by_one(store, 9) == "ababab"


def test_one_claim_of_many_is_as_fair_as_many_claims_of_one(store):
    submit(store, "alice", 6)
    submit(store, "bob", 6)
    assert owners(claim(store, 8)) == "abababab"


def test_weights_are_shares_of_the_work(open_store):
    store = open_store(alice=Quota(weight=3), bob=Quota(weight=1))
    submit(store, "alice", 40)
    submit(store, "bob", 40)
    assert Counter(one_by_one(store, 40)) == {"a": 30, "b": 10}


def test_a_long_video_counts_as_the_short_ones_that_it_is_as_long_as(store):
    submit(store, "alice", 10, num_inference_steps=40)
    submit(store, "bob", 30, num_inference_steps=10)
    assert Counter(one_by_one(store, 20)) == {"a": 4, "b": 16}


def test_nobody_saves_up_turns_while_away(store):
    submit(store, "alice", 60)
    submit(store, "bob")
    assert one_by_one(store, 20).count("b") == 1
    submit(store, "bob", 20)
    assert one_by_one(store, 10).count("b") == 5


def test_turns_survive_a_restart(store, open_store):
    submit(store, "alice", 10)
    submit(store, "bob", 10)
    assert one_by_one(store, 1) == "a"
    assert one_by_one(open_store(), 2) == "ba"


def test_no_more_run_than_a_key_may(open_store):
    store = open_store(alice=Quota(max_running=2))
    submit(store, "alice", 5)
    submit(store, "bob", 2)
    claimed = claim(store, 10)
    assert Counter(owners(claimed)) == {"a": 2, "b": 2}
    assert claim(store, 10) == []
    end(store, next(task for task in claimed if task.owner == "alice"))
    assert owners(claim(store, 10)) == "a"


def test_a_claim_that_has_not_started_counts_as_running(open_store):
    store = open_store(alice=Quota(max_running=1))
    submit(store, "alice", 2)
    (task,) = claim(store, 10)
    assert store.get(task.id).state == State.QUEUED
    assert claim(store, 10) == []
    assert store.requeue(task, attempt_lost=False)
    assert [each.id for each in claim(store, 10)] == [task.id]


def test_who_is_at_the_bound_holds_up_nobody(open_store):
    store = open_store(alice=Quota(max_running=1))
    submit(store, "alice", 20)
    assert owners(claim(store, 5)) == "a"
    submit(store, "bob", 3)
    assert owners(claim(store, 5)) == "bbb"


def test_no_more_wait_than_a_key_may(open_store):
    store = open_store(alice=Quota(max_queued=2))
    submit(store, "alice", 2)
    with pytest.raises(QueueFull, match="the key alice is full: 2"):
        submit(store, "alice")
    submit(store, "bob", 3)
    submit(store, "alice", model="another")
    assert one_by_one(store, 1) == "a"
    submit(store, "alice")


def test_tasks_of_another_model_are_nobodys_turn(store):
    submit(store, "alice", 3, model="another")
    (task,) = submit(store, "bob")
    assert [each.id for each in claim(store, 5)] == [task.id]
    assert claim(store, 5) == []


def test_tasks_of_a_key_that_is_gone_are_served_like_any(open_store):
    store = open_store(bob=Quota())
    submit(store, "alice", 2)
    submit(store, "bob", 2)
    assert one_by_one(store, 4) == "abab"


# -- positions in the queue


def test_places_count_the_turns_of_others(store):
    first = submit(store, "alice", 5)
    one = submit(store, "bob")
    places = store.queue_positions([*first, *one])
    assert [places[task.id].position for task in [*first, *one]] == [1, 3, 4, 5, 6, 2]
    assert store.queue_position(one[0]) == QueuePosition(2)


def test_a_place_follows_the_weights(open_store):
    store = open_store(alice=Quota(weight=2))
    submit(store, "alice", 10)
    mine = submit(store, "bob", 2)
    assert [store.queue_position(task).position for task in mine] == [2, 5]


def test_a_place_counts_only_what_waits_for_the_same_model(store):
    submit(store, "alice", 3, model="another")
    submit(store, "bob", 2, model="another")
    first, second = submit(store, "alice", 2)
    assert [store.queue_position(task).position for task in (first, second)] == [1, 2]
    (elsewhere,) = submit(store, "alice", model="another")
    places = store.queue_positions([first, elsewhere])
    assert (places[first.id].position, places[elsewhere.id].position) == (1, 6)


def test_a_place_says_how_many_rounds_of_its_owner_come_first(open_store):
    store = open_store(alice=Quota(max_running=2))
    running = submit(store, "alice")
    store.start_run(*claim(store))
    waiting = submit(store, "alice", 4)
    free = submit(store, "bob", 4)
    assert [store.queue_position(task).own_rounds for task in waiting] == [0.0, 0.5, 1.0, 1.5]
    assert [store.queue_position(task).own_rounds for task in free] == [0.0] * 4
    end(store, *running)
    assert [store.queue_position(task).own_rounds for task in waiting] == [0.0, 0.0, 0.5, 1.0]


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(arrivals=st.lists(st.sampled_from("abc"), min_size=1, max_size=12), served=st.integers(0, 4))
def test_places_are_the_order_in_which_tasks_of_one_size_are_served(store, arrivals, served):
    with store._engine.begin() as connection:
        connection.execute(delete(tasks))
        connection.execute(delete(fair_queue_state))
    waiting = [submit(store, owner)[0] for owner in arrivals]
    for task in claim(store, served):
        waiting = [each for each in waiting if each.id != task.id]
        end(store, task)
    places = store.queue_positions(waiting) if waiting else {}
    order = []
    while claimed := claim(store):
        order += claimed
    for place, task in enumerate(order, start=1):
        off = abs(places[task.id].position - place)
        assert off < len(set(arrivals)), "who of several is first at one moment is not told"
    for owner in set(arrivals):
        theirs = [places[task.id].position for task in order if task.owner == owner]
        assert theirs == sorted(set(theirs))


# -- several dispatchers


def _claim_all(url: str, name: str, begin, results) -> None:
    store = SqlTaskStore.open(url, quotas={"alice": Quota(max_running=3)})
    begin.wait()
    mine = []
    while claimed := store.claim(name, MODEL, 1, 60):
        mine += [(task.id, task.owner) for task in claimed]
    results.put(mine)
    store.close()


def test_dispatchers_in_processes_keep_the_bounds_together(store, database_url):
    submit(store, "alice", 10)
    submit(store, "bob", 20)
    context = multiprocessing.get_context("spawn")
    begin, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_claim_all, args=(database_url, f"d{n}", begin, results)) for n in range(3)]
    for each in processes:
        each.start()
    claimed = [one for _ in processes for one in results.get(timeout=60)]
    for each in processes:
        each.join()
    results.close()
    results.join_thread()
    assert len({task_id for task_id, _ in claimed}) == len(claimed)
    assert Counter(owner for _, owner in claimed) == {"alice": 3, "bob": 20}


def test_a_claim_looks_no_further_than_it_must(store, database_url):
    """The plan of the query that runs every second: one index search per owner, and no scan."""
    submit(store, "alice", 20)
    engine = open_engine(database_url)
    try:
        if engine.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by its statistics")
        from storage.sql.claims import CLAIMABLE
        from storage.sql.index_scans import oldest_by_owner

        look = oldest_by_owner(IndexScans(by_rows=False), MODEL, *CLAIMABLE)
        query = look.compile(engine, compile_kwargs={"literal_binds": True})
        with engine.connect() as connection:
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    finally:
        engine.dispose()
    of_tasks = [line for line in plan if " tasks " in line]
    assert of_tasks
    assert all(line.startswith("SEARCH") and "INDEX tasks_in_queue" in line for line in of_tasks)


# -- usage


def test_usage_is_counted_for_each_owner_and_day(store):
    for seconds in (1.5, 2.5):
        store.add_usage("alice", seconds)
    store.add_usage("bob", 1.0, runs=3)
    (alice,), everyone = store.usage("alice"), store.usage()
    assert (alice.owner, alice.runs, alice.gpu_s) == ("alice", 2, 4.0)
    assert [each.owner for each in everyone] == ["alice", "bob"]
    assert everyone[1].runs == 3
    assert store.usage("carol") == []


STEPS = Adjustment("num_inference_steps", 10, 8, "a distilled model has fixed steps")
UNGUIDED = {"cfg_scale_video": 1, "cfg_scale_audio": 1, "stg_scale_video": 0, "modality_scale": 1}


@pytest.mark.parametrize(
    ("more", "less", "ratio"),
    [
        ({}, UNGUIDED, 4),
        ({}, {"stg_scale_video": 0, "modality_scale": 1}, 2),
        ({"cfg_scale_video": 1, "cfg_scale_audio": 1}, UNGUIDED, 3),
        (UNGUIDED | {"num_inference_steps": 40}, UNGUIDED | {"num_inference_steps": 10}, 4),
        (UNGUIDED | {"num_frames": 241}, UNGUIDED | {"num_frames": 121}, 2),
        ({"num_inference_steps": 10}, {"quality": "fast", "num_inference_steps": 4}, 4),  # 40 and 4 + 3 * 2
    ],
)
def test_work_is_what_the_transformer_evaluates(open_store, more, less, ratio):
    """A guided step costs four times one without guidance, so asking for guidance brings an owner no more GPU time."""
    store = open_store()
    submit(store, "alice", 3, **more)
    submit(store, "bob", 30, **less)
    assert one_by_one(store, 3 * (ratio + 1)).count("a") == 3


def test_work_is_counted_as_it_is_rendered(open_store):
    """A distilled model has its own steps and no guidance, whatever the request contains."""
    store = open_store()
    distilled = (*(Adjustment(name, 2, value, "x") for name, value in UNGUIDED.items()), STEPS)
    for owner, adjusted in (("alice", ()), ("bob", distilled)):
        request = VideoRequest(prompt="a lighthouse", num_inference_steps=10)
        for _ in range(20):
            store.submit(NewTask(request, MODEL, "http://box", owner=owner, adjustments=adjusted))
    assert one_by_one(store, 18).count("a") == 3  # 40 transformer calls and 8


def test_of_a_long_video_that_is_edited_counts_the_part_that_is_rendered(open_store):
    store = open_store()
    request = VideoRequest(prompt="a lighthouse", num_frames=121)
    for owner, rendered in (("alice", None), ("bob", 41)):
        for _ in range(20):
            store.submit(NewTask(request, MODEL, "http://box", owner=owner, rendered_frames=rendered))
    assert one_by_one(store, 12).count("a") == 3  # 121 frames and 41


def test_the_share_of_guided_steps_is_the_servers(database_url, open_store):
    open_store()
    store = SqlTaskStore.open(database_url, fast_guidance_fraction=1.0)
    submit(store, "alice", 3, num_inference_steps=4)
    submit(store, "bob", 30, num_inference_steps=4, quality="fast")
    assert one_by_one(store, 6).count("a") == 3
    store.close()


def test_turns_of_before_keep_their_meaning(open_store):
    """Stored values count default videos, as they did when only steps counted as work."""
    assert task_cost(VideoRequest(prompt="x"), 0.5) == 1
    store = open_store()
    with store._engine.begin() as connection:
        connection.execute(insert(fair_queue_state), [{"owner": "alice", "start": 5.0, "finish": 7.0}])
    submit(store, "alice", 2)
    submit(store, "bob", 4)
    assert one_by_one(store, 4) == "bbab"


@pytest.fixture
def other_claim(database_url):
    """A claim of another Dispatcher that has not been committed yet, on PostgreSQL. Returns its tasks at the commit."""
    engine = open_engine(database_url)
    if engine.dialect.name != "postgresql":
        engine.dispose()
        pytest.skip("SQLite has one writer at a time")
    with engine.connect() as connection:

        def begin(quota: Quota) -> tuple[list[Task], Callable[[], None]]:
            run = _ClaimRun(connection, MODEL, IndexScans(by_rows=True), lambda _owner: quota, 0.0)
            run.claim(
                1, {"dispatcher": "bob's dispatcher", "claim_token": tasks.c.claim_token + 1, "lease_until": 1e12}
            )
            return run.taken, connection.commit

        yield begin
        connection.rollback()
    engine.dispose()


def test_a_claim_does_not_wait_for_a_claim_of_other_owners(open_store, other_claim):
    store = open_store()
    submit(store, "alice")
    taken, commit = other_claim(Quota())
    submit(store, "bob", 2)
    assert owners(taken) == "a"
    assert owners(claim(store)) == "b"  # before the other has committed
    commit()
    submit(store, "alice", 2)
    assert one_by_one(store, 3) == "baa"


def test_claims_of_one_owner_at_once_both_advance_its_virtual_time(open_store, other_claim):
    store = open_store()
    submit(store, "alice", 5)
    taken, commit = other_claim(Quota())
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(claim, store)
        time.sleep(0.2)  # it has claimed the second task, and waits to write the virtual time
        commit()
        assert owners(taken) + owners(beside.result()) == "aa"
    (row,) = store._read(select(fair_queue_state))
    assert row.finish == pytest.approx(2 * task_cost(taken[0].rendered_request, 0.0))


def test_claims_at_once_keep_max_running(open_store, other_claim):
    store = open_store(alice=Quota(max_running=1))
    submit(store, "alice", 5)
    taken, commit = other_claim(Quota(max_running=1))
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(claim, store, 5)
        time.sleep(0.2)
        commit()
        assert (owners(taken), beside.result()) == ("a", [])

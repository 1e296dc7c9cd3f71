"""The contract about owners: a task's row stores its owner, and shared data is shared by all."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import IdempotencyKeyReused
from models.request.request import VideoRequest
from storage.task_store import SqlTaskStore
from storage.tasks import ANONYMOUS, Idempotency, NewTask, State, Task

MODEL = "Lightricks/LTX-2"


def submit(store: SqlTaskStore, owner: str, **fields: object) -> Task:
    return store.submit(NewTask(VideoRequest(prompt="a lighthouse"), MODEL, "http://box", owner=owner, **fields))


def test_a_task_reads_back_with_its_owner(store):
    assert store.get(submit(store, "alice").id).owner == "alice"
    assert store.submit(NewTask(VideoRequest(prompt="x"), MODEL, "http://box")).owner == ANONYMOUS


def test_a_page_can_be_of_one_owner(store):
    tasks = {owner: [submit(store, owner) for _ in range(3)] for owner in ("alice", "bob", "alicia")}
    for owner, theirs in tasks.items():
        assert store.page(State, 10, owner=owner) == theirs[::-1]
        assert store.page(State, 2, theirs[2].sequence, owner=owner) == theirs[1::-1]
        assert store.page(State, 10, owner=owner, oldest_first=True) == theirs
    assert len(store.page(State, 10)) == 9
    assert store.page(State, 10, owner="carol") == []


def test_an_idempotency_key_is_its_owners_alone(store):
    first, again = (submit(store, "alice", idempotency=Idempotency("k", "d")) for _ in range(2))
    other = submit(store, "bob", idempotency=Idempotency("k", "another"))
    assert first.id == again.id != other.id
    with pytest.raises(IdempotencyKeyReused):
        submit(store, "alice", idempotency=Idempotency("k", "another"))


def test_a_secret_is_the_same_for_all_who_ask_first_at_the_same_moment(store, database_url):
    others = [SqlTaskStore.open(database_url) for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        found = {*threads.map(lambda number: others[number % 4].shared_secret("urls"), range(16))}
    for each in others:
        each.close()
    assert found == {store.shared_secret("urls")}

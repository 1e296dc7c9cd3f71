"""A replica's row shows its current state, whichever of its threads writes last."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from deployments.generator.replica_status import ReplicaStatus
from storage.task_store import SqlTaskStore
from storage.tasks import GeneratorReplica, ReplicaState

PATIENCE_S = 30.0


class SlowStore(SqlTaskStore):
    """Delays its first write of a replica."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.writing, self.may_write, self.beaten = threading.Event(), threading.Event(), threading.Event()

    def put_replica(self, replica: GeneratorReplica) -> None:
        if not self.writing.is_set():
            self.writing.set()
            assert self.may_write.wait(PATIENCE_S)
        super().put_replica(replica)


@pytest.fixture
def store(engine: Engine) -> SlowStore:
    return SlowStore(engine)


@pytest.fixture
def replica_status(store: SlowStore) -> Iterator[ReplicaStatus]:
    """A ReplicaStatus whose first heartbeat is being written to the store."""
    replica_status = ReplicaStatus(store, "Lightricks/LTX-2", store.beaten.set)
    replica_status.start()
    assert store.writing.wait(PATIENCE_S)
    yield replica_status
    replica_status.close()
    store.may_write.set()
    assert store.beaten.wait(PATIENCE_S)


def test_a_slow_heartbeat_does_not_bring_back_what_was_before(replica_status, store):
    with ThreadPoolExecutor(1) as other:
        described = other.submit(replica_status.set_state, ReplicaState.READY)
        while replica_status.state is not ReplicaState.READY:
            time.sleep(0.01)
        store.may_write.set()
        described.result()
    assert store.beaten.wait(PATIENCE_S)
    assert [each.state for each in store.live_replicas()] == [ReplicaState.READY]


def test_a_slow_heartbeat_does_not_bring_back_one_that_has_ended(replica_status, store):
    replica_status.close()
    with ThreadPoolExecutor(1) as other:
        withdrawn = other.submit(replica_status.deregister)
        store.may_write.set()
        withdrawn.result()
    assert store.beaten.wait(PATIENCE_S)
    replica_status.set_state(ReplicaState.LOADING)
    assert store.live_replicas() == []

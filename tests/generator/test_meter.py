"""GPU seconds are counted for every run, however it ends, and are not lost while the store is away."""

import pytest
from sqlalchemy import Engine

from deployments.generator.meter import Meter
from storage.task_store import SqlTaskStore


@pytest.fixture
def store(engine: Engine) -> SqlTaskStore:
    return SqlTaskStore(engine)


def rename(engine: Engine, table: str, name: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def test_a_run_that_fails_counts_like_any(store):
    meter = Meter(store)
    with meter.running("alice"):
        pass
    with pytest.raises(RuntimeError), meter.running("alice"):
        raise RuntimeError
    meter.write()
    (usage,) = store.usage()
    assert (usage.owner, usage.runs) == ("alice", 2)
    assert usage.gpu_s > 0


def test_what_is_written_is_not_written_again(store):
    meter = Meter(store)
    with meter.running("alice"):
        pass
    meter.write()
    meter.write()
    assert store.usage()[0].runs == 1


def test_what_could_not_be_written_is_written_later(store, engine):
    meter = Meter(store)
    rename(engine, "usage", "away")
    for owner in ("alice", "bob", "alice"):
        with meter.running(owner):
            pass
        meter.write()
    rename(engine, "away", "usage")
    meter.write()
    assert {usage.owner: usage.runs for usage in store.usage()} == {"alice": 2, "bob": 1}

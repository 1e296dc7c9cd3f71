"""GPU seconds are counted for every run, however it ends, and are not lost while the store is unavailable."""

import pytest
from sqlalchemy import Engine

from deployments.generator.usage_meter import FLUSH_THRESHOLD_S, UsageMeter
from storage.task_store import SqlTaskStore


@pytest.fixture
def store(engine: Engine) -> SqlTaskStore:
    return SqlTaskStore(engine)


def rename(engine: Engine, table: str, name: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def test_a_run_that_fails_counts_like_any(store):
    usage_meter = UsageMeter(store)
    with usage_meter.measure("alice"):
        pass
    with pytest.raises(RuntimeError), usage_meter.measure("alice"):
        raise RuntimeError
    usage_meter.flush()
    (usage,) = store.usage()
    assert (usage.owner, usage.runs) == ("alice", 2)
    assert usage.gpu_s > 0


def test_a_run_is_written_down_while_it_goes_on(store):
    """A killed process loses only the seconds since the last write."""
    now = [100.0]
    usage_meter = UsageMeter(store, lambda: now[0])
    with usage_meter.measure("alice"):
        now[0] += FLUSH_THRESHOLD_S / 2
        usage_meter.flush_if_large()
        assert store.usage() == []
        now[0] += FLUSH_THRESHOLD_S
        usage_meter.flush_if_large()
        assert [(usage.runs, usage.gpu_s) for usage in store.usage()] == [(1, FLUSH_THRESHOLD_S * 1.5)]
        now[0] += 10
    now[0] += 1000
    usage_meter.flush()
    assert [(usage.runs, usage.gpu_s) for usage in store.usage()] == [(1, FLUSH_THRESHOLD_S * 1.5 + 10)]


def test_what_is_written_is_not_written_again(store):
    usage_meter = UsageMeter(store)
    with usage_meter.measure("alice"):
        pass
    usage_meter.flush()
    usage_meter.flush()
    assert store.usage()[0].runs == 1


def test_what_could_not_be_written_is_written_later(store, engine):
    usage_meter = UsageMeter(store)
    rename(engine, "usage", "away")
    for owner in ("alice", "bob", "alice"):
        with usage_meter.measure(owner):
            pass
        usage_meter.flush()
    rename(engine, "away", "usage")
    usage_meter.flush()
    assert {usage.owner: usage.runs for usage in store.usage()} == {"alice": 2, "bob": 1}

"""PostgreSQL with faults: a server that hangs or disappears is reported in bounded time, and later calls work."""

import gc
import os
import signal
import time

import psutil
import pytest
from sqlalchemy import make_url, text

from models.errors import StoreUnavailable
from storage.db import postgres as bounded
from storage.db.engine import migrate, open_engine
from storage.task_store import SqlTaskStore
from tests.postgres import running_postgres
from tests.storage.test_task_store import new_task


@pytest.fixture
def server():
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_store(server):
    engine = open_engine(server.database())
    migrate(engine)
    store = SqlTaskStore(engine)
    yield store
    store.close()


def backends(store: SqlTaskStore) -> list[psutil.Process]:
    """The server process that serves this store, and the one that accepts new connections."""
    with store._engine.connect() as connection:
        backend = psutil.Process(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    return [backend, backend.parent()]


def test_a_server_that_hangs_is_unavailable_in_bounded_time_and_then_well_again(postgres_store, monkeypatch):
    monkeypatch.setattr(bounded.TimeoutConnection, "timeout_s", 0.5)
    monkeypatch.setattr(bounded, "CONNECT_TIMEOUT_S", 2)
    task = postgres_store.submit(new_task())
    stopped = backends(postgres_store)
    for process in stopped:
        os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            postgres_store.get(task.id)
    finally:
        for process in stopped:
            os.kill(process.pid, signal.SIGCONT)
    assert time.monotonic() - began < 20
    assert postgres_store.get(task.id) == task


@pytest.mark.filterwarnings("error")
def test_a_connection_that_outlives_its_engine_is_closed_without_a_warning(server):
    url = server.database()
    engine = open_engine(url)
    held = engine.connect()
    engine.dispose()
    del held, engine
    gc.collect()
    watching = open_engine(server.database())
    name = make_url(url).database
    with watching.connect() as connection:
        open_now = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
        assert connection.execute(open_now, {"name": name}).scalar_one() == 0
    watching.dispose()


def test_a_server_that_was_restarted_costs_nobody_an_error(postgres_store, server):
    task = postgres_store.submit(new_task())
    server.stop()
    with pytest.raises(StoreUnavailable):
        postgres_store.get(task.id)
    server.start()
    assert postgres_store.get(task.id) == task
    server.stop()
    server.start()
    assert postgres_store.get(task.id) == task


def test_a_url_without_a_driver_means_the_one_that_is_installed(server):
    url = make_url(server.database()).set(drivername="postgresql")
    engine = open_engine(url.render_as_string(hide_password=False))
    migrate(engine)
    assert SqlTaskStore(engine).get("nobody") is None
    assert engine.dialect.driver == "psycopg"
    engine.dispose()


def test_a_migration_may_take_longer_than_a_statement_and_only_it(server, monkeypatch):
    monkeypatch.setattr(bounded.TimeoutConnection, "timeout_s", 0.3)
    engine = open_engine(server.database())
    migrate(engine)
    with pytest.raises(Exception, match=r"no answer in 0\.3 s"), engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(3)"))
    engine.dispose()

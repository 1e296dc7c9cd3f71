"""The database: migrations by several processes, SQLite restricted to one server, and translated errors."""

import fcntl
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from models.errors import StoreUnavailable
from storage.db.engine import SqliteLock, migrate, open_engine
from storage.db.schema import metadata
from storage.db.sqlite import back_up
from storage.task_store import SqlTaskStore

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def url(tmp_path) -> str:
    """The url of a database that does not exist yet, in a folder that does not exist yet."""
    return f"sqlite:///{tmp_path / 'data' / 'tasks.db'}"


@pytest.fixture
def engine(url):
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_migrations_make_the_tables_that_the_code_works_with(engine):
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.parametrize("revision", ["0004", "0005"])
def test_a_database_that_an_unreleased_version_made_is_named_at_the_start(engine, revision):
    """Also one with a revision that this version does not know: an additive migration keeps every column."""
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.execute(text("ALTER TABLE tasks DROP COLUMN rendering_at"))
        connection.execute(text("DROP TABLE fair_queue_state"))
    with pytest.raises(
        StoreUnavailable,
        match=r"database_url: .* lacks tasks.rendering_at, fair_queue_state.owner, fair_queue_state.start",
    ):
        migrate(engine)


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("SELECT 1 FROM tasks WHERE finished_at IS NULL AND deadline_at < 5", "tasks_by_deadline"),
        ("SELECT DISTINCT dispatcher FROM tasks WHERE dispatcher IS NOT NULL", "tasks_by_dispatcher"),
        ("UPDATE tasks SET lease_until = 1 WHERE dispatcher = 'a' AND finished_at IS NULL", "tasks_by_dispatcher"),
        ("SELECT * FROM tasks WHERE state = 'queued' ORDER BY sequence DESC LIMIT 9", "tasks_by_state"),
        (
            (
                "SELECT delivery_group FROM webhook_deliveries WHERE state = 'pending' AND delivery_group > 'a' "
                "ORDER BY delivery_group LIMIT 1"
            ),
            "webhook_deliveries_due",
        ),
        (
            (
                "SELECT 1 FROM webhook_deliveries WHERE state = 'pending' AND delivery_group = 'a' AND due_at <= 5 "
                "ORDER BY due_at LIMIT 1"
            ),
            "webhook_deliveries_due",
        ),
        (
            "SELECT state FROM webhook_deliveries WHERE task_id IN ('a', 'b') ORDER BY sequence",
            "webhook_deliveries_by_task",
        ),
        (
            "SELECT sequence FROM webhook_deliveries WHERE created_at < 5 ORDER BY created_at LIMIT 9",
            "webhook_deliveries_by_age",
        ),
        (
            "SELECT id FROM tasks WHERE state IN ('completed') AND finished_at < 5 ORDER BY finished_at LIMIT 9",
            "tasks_by_end",
        ),
    ],
)
def test_what_is_asked_all_the_time_is_answered_from_an_index(engine, question, index):
    migrate(engine)
    with engine.connect() as connection:
        plan = " ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {question}")))
    assert index in plan


def test_migrating_twice_changes_nothing(engine):
    migrate(engine)
    before = inspect(engine).get_table_names()
    migrate(engine)
    assert inspect(engine).get_table_names() == before


def test_a_database_of_a_newer_version_is_left_as_it_is(engine):
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    assert SqlTaskStore(engine).get("x") is None


def _migrate(url: str, begin) -> None:
    engine = open_engine(url)
    begin.wait()
    migrate(engine)
    engine.dispose()


def test_two_processes_migrate_at_once(url):
    begin = SPAWN.Barrier(2)
    workers = [SPAWN.Process(target=_migrate, args=(url, begin)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]


def _open_in_turn(folder, begin) -> None:
    for number in range(20):
        engine = open_engine(f"sqlite:///{folder / str(number)}.db")
        begin.wait()
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        engine.dispose()


def test_processes_that_open_a_new_file_at_once_all_get_it(tmp_path):
    begin = SPAWN.Barrier(3, timeout=30)
    workers = [SPAWN.Process(target=_open_in_turn, args=(tmp_path, begin)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


def test_sqlite_writes_are_durable_and_do_not_hold_up_readers(engine):
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_write_takes_its_place_in_line_from_the_start(engine):
    migrate(engine)
    reader = engine.execution_options(isolation_level="AUTOCOMMIT")
    with reader.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tasks")
    for _ in range(3):  # a connection that has read must not write in another way afterwards
        with engine.begin() as connection:
            assert connection.connection.dbapi_connection.in_transaction


def test_an_error_half_way_undoes_the_whole_write(engine):
    migrate(engine)

    def fail_half_way() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO served_models (model, served_at) VALUES ('x', 1)"))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        fail_half_way()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM served_models")).scalar() == 0


# -- faults


def test_a_database_without_tables_is_unavailable(engine):
    with pytest.raises(StoreUnavailable, match=r"the task store did not answer: .*no such table"):
        SqlTaskStore(engine).get("x")


def test_a_file_that_is_no_database_is_unavailable(engine, tmp_path):
    (tmp_path / "data" / "tasks.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        migrate(engine)


def test_a_folder_in_place_of_the_file_is_unavailable(engine, tmp_path):
    (tmp_path / "data" / "tasks.db").mkdir()
    with pytest.raises(StoreUnavailable, match="unable to open"):
        migrate(engine)


def test_a_file_that_was_removed_or_replaced_is_noticed(engine, tmp_path):
    migrate(engine)
    store = SqlTaskStore(engine)
    assert store.get("x") is None
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    with pytest.raises(StoreUnavailable):
        store.get("x")
    migrate(engine)
    assert store.get("x") is None


# -- one server


def test_a_second_server_is_refused_with_what_to_do(url):
    first = SqliteLock(url, "first/1")
    with pytest.raises(StoreUnavailable, match=r"tasks.db is in use by another server \(first/1\); stop that one"):
        SqliteLock(url, "second/2", timeout_s=0.3)
    first.release()
    SqliteLock(url, "second/2", timeout_s=0.3).release()


def test_the_processes_of_one_server_share_the_lock_until_the_last_ends(url):
    first, second = SqliteLock(url, "one"), SqliteLock(url, "one", timeout_s=0)
    first.release()
    with pytest.raises(StoreUnavailable):
        SqliteLock(url, "two", timeout_s=0.3)
    second.release()
    SqliteLock(url, "two", timeout_s=0).release()


def test_an_old_name_in_the_file_gives_no_lock(url, tmp_path):
    SqliteLock(url, "one").release()
    writing = os.open(tmp_path / "data" / "tasks.db.lock", os.O_RDWR)
    fcntl.flock(writing, fcntl.LOCK_EX)
    with pytest.raises(StoreUnavailable):
        SqliteLock(url, "one", timeout_s=0.3)
    os.close(writing)


def _hold(url: str, ready) -> None:
    lock = SqliteLock(url, "killed")
    ready.set()
    signal.pause()
    lock.release()


def test_a_killed_server_leaves_no_lock(url):
    ready = SPAWN.Event()
    holder = SPAWN.Process(target=_hold, args=(url, ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(StoreUnavailable):
        SqliteLock(url, "next", timeout_s=0)
    holder.kill()
    SqliteLock(url, "next", timeout_s=10).release()
    holder.join()


# -- file permissions


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


def test_a_new_database_and_its_folder_are_for_this_user_alone(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'data' / 'ltx2.db'}")
    migrate(engine)
    found = modes(tmp_path / "data")
    engine.dispose()
    assert {"ltx2.db", "ltx2.db-wal", "ltx2.db-shm"} <= set(found)
    assert set(found.values()) == {0o600}
    assert modes(tmp_path)["data"] == 0o700


def test_a_database_that_others_could_read_is_closed_to_them_and_its_folder_is_left(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    file = folder / "ltx2.db"
    file.touch(mode=0o644)
    engine = open_engine(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    assert modes(folder)["ltx2.db"] == 0o600
    assert modes(tmp_path)["data"] == 0o755


def test_a_backup_is_for_this_user_alone(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'ltx2.db'}")
    migrate(engine)
    back_up(tmp_path / "ltx2.db", tmp_path / "copy.db")
    engine.dispose()
    assert modes(tmp_path)["copy.db"] == 0o600


def test_a_database_whose_folder_has_gone_is_a_store_that_does_not_answer(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'data' / 'ltx2.db'}")
    (tmp_path / "data").rmdir()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        migrate(engine)
    engine.dispose()

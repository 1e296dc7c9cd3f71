"""Promise: the cost of frequent queries of clients and Dispatchers does not depend on the number of tasks.

On PostgreSQL with 25,000 tasks, of which 5,000 wait for a model that is not served, each statement must use an index
and read few rows. SQLite shows its plans without running them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert

from benchmarks.seed_rows import fill, task_id
from models.names import TINY_MODEL_NAME
from models.progress import Progress, Stage
from models.request.request import RequestLimits, parse_request
from storage.db.engine import open_engine
from storage.db.schema import webhook_deliveries
from storage.sql.retention import SqlRetentionStore
from storage.task_store import SqlTaskStore
from storage.tasks import ANONYMOUS, NewTask, State, Task
from storage.webhooks import DeliveryGroup
from tests.e2e.server import QUICK

COMPLETED, QUEUED, UNSERVED = 15_000, 5_000, 5_000
MESSAGES = 5_000
FEW = 300
"""The rows that one statement may read: a page of each state, and nothing that grows with the table."""
LISTED = frozenset(State) - {State.DELETED}

Statement = tuple[str, Any]


@pytest.fixture(scope="module")
def engine(postgres) -> Iterator[Engine]:
    url = postgres.database()
    fill(url, {State.COMPLETED: COMPLETED, State.QUEUED: QUEUED}, UNSERVED)
    engine = open_engine(url)
    yield engine
    engine.dispose()
    postgres.drop(url)


@pytest.fixture(scope="module")
def file_engine(tmp_path_factory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/tasks.db"
    fill(url, {State.COMPLETED: COMPLETED, State.QUEUED: QUEUED}, UNSERVED)
    engine = open_engine(url)
    yield engine
    engine.dispose()


def claimed(store: SqlTaskStore) -> Task:
    (task,) = store.claim("alice", TINY_MODEL_NAME, 1, 60)
    assert store.start_run(task)
    return task


def submit(store: SqlTaskStore) -> None:
    store.submit(NewTask(parse_request({**QUICK}, RequestLimits()), TINY_MODEL_NAME, "http://127.0.0.1"), QUEUED * 2)


def expire(store: SqlTaskStore) -> None:
    SqlRetentionStore(store._engine).expire(0.0, 50)


OPERATIONS: dict[str, Callable[[SqlTaskStore], object]] = {
    "poll": lambda store: store.get(task_id(77)),
    "look at many": lambda store: store.get_many([task_id(number) for number in range(1, 101)]),
    "list": lambda store: store.page(LISTED, 21),
    "list from a cursor": lambda store: store.page(LISTED, 21, 9_000),
    "list one state": lambda store: store.page([State.COMPLETED], 21, 9_000, oldest_first=True),
    "list one owner": lambda store: store.page(LISTED, 21, owner=ANONYMOUS),
    "claim": lambda store: store.claim("alice", TINY_MODEL_NAME, 4, 60),
    "claim for a model without tasks": lambda store: store.claim("alice", "new/model", 4, 60),
    "what is unserved, and young": lambda store: store.fail_unserved(TINY_MODEL_NAME, 3600.0, 100),
    "what is unserved, and old": lambda store: store.fail_unserved(TINY_MODEL_NAME, -3600.0, 20),
    "report": lambda store: store.report_progress(claimed(store), Progress(Stage.DENOISING, 1)),
    "requeue": lambda store: store.requeue(claimed(store), attempt_lost=True),
    "renew": lambda store: store.renew_leases("alice", 60),
    "claimants": lambda store: store.list_dispatchers(),
    "reclaim": lambda store: store.reclaim(["bob"]),
    "overdue": lambda store: store.fail_overdue(20),
    "cancel": lambda store: store.cancel(task_id(COMPLETED + 4_000)),
    "expire": expire,
}


def statements(
    store: SqlTaskStore, operation: Callable[[SqlTaskStore], object], table: str = "tasks"
) -> list[Statement]:
    """The statements of the operation on a table."""
    asked: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if table in statement and not statement.startswith("INSERT"):
            asked.append((statement, parameters))

    event.listen(store._engine, "before_cursor_execute", note)
    try:
        operation(store)
    finally:
        event.remove(store._engine, "before_cursor_execute", note)
    return asked


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def run_plan(engine: Engine, statement: Statement) -> list[dict[str, Any]]:
    """Run the statement again, roll back, and return PostgreSQL's plan."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement[0]}", statement[1])
        (explained,) = found.scalar_one()
        connection.rollback()
    return list(nodes(explained["Plan"]))


def rows_looked_at(node: dict[str, Any]) -> float:
    """The rows of the table that a scan read, including those that it discarded."""
    each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float(each * node["Actual Loops"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_goes_by_an_index_and_looks_at_few_rows(name, engine):
    store = SqlTaskStore(engine)
    asked = statements(store, OPERATIONS[name])
    assert asked
    for statement in asked:
        scans = [node for node in run_plan(engine, statement) if "Scan" in node["Node Type"]]
        of_tasks = [node for node in scans if node.get("Relation Name") == "tasks" or "Index Name" in node]
        assert [node["Node Type"] for node in of_tasks if node["Node Type"] == "Seq Scan"] == []
        assert sum(rows_looked_at(node) for node in of_tasks) <= FEW, statement[0]


@pytest.mark.parametrize(
    ("name", "operation"),
    {
        "a place in the queue": lambda store: store.queue_position(store.get(task_id(COMPLETED + 4_000))),
        "counts for /health": lambda store: store.counts(),
        "a census": lambda store: store.count_queue(TINY_MODEL_NAME),
        "room for a submit": submit,
    }.items(),
)
def test_what_counts_the_queue_never_looks_at_what_has_ended(name, operation, engine):
    """Its cost grows with the queue, which `max_queued` bounds."""
    for statement in statements(SqlTaskStore(engine), operation):
        scans = [node for node in run_plan(engine, statement) if "Scan" in node["Node Type"]]
        assert "Seq Scan" not in [node["Node Type"] for node in scans if node.get("Relation Name") == "tasks"]
        assert sum(rows_looked_at(node) for node in scans) <= QUEUED * 2 + FEW


@pytest.mark.parametrize("name", OPERATIONS)
def test_on_sqlite_it_goes_by_an_index(name, file_engine):
    for statement, parameters in statements(SqlTaskStore(file_engine), OPERATIONS[name]):
        with file_engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        assert [row.detail for row in plan if row.detail.startswith("SCAN tasks") and "INDEX" not in row.detail] == []


def test_a_thousand_messages_for_a_dead_host_are_not_looked_at(postgres):
    url = postgres.database()
    fill(url, {})
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(insert(webhook_deliveries), [waiting_message(number) for number in range(MESSAGES)])
            connection.exec_driver_sql("ANALYZE webhook_deliveries")
        asked = statements(SqlTaskStore(engine), lambda store: store.due_webhooks(MESSAGES * 1.0), "webhook_deliveries")
        plans = [node for statement in asked for node in run_plan(engine, statement)]
        scans = [node for node in plans if node.get("Relation Name") == "webhook_deliveries"]
        assert scans
        assert sum(rows_looked_at(node) for node in scans) <= FEW
        assert "Seq Scan" not in [node["Node Type"] for node in scans]
    finally:
        engine.dispose()
        postgres.drop(url)


def waiting_message(number: int) -> dict[str, Any]:
    """One message in a hundred is for one of ten live hosts."""
    host = f"{number // 100 % 10}.example" if number % 100 == 0 else "dead.example"
    row = {
        "id": f"msg_{number}",
        "task_id": f"{number}",
        "url": f"https://{host}/",
        "delivery_group": str(DeliveryGroup(ANONYMOUS, host)),
    }
    return row | {"state": "pending", "task": "{}", "attempts": 0, "due_at": float(number), "created_at": 0.0}


def test_no_plan_is_kept_for_other_values_than_it_was_made_for(engine):
    """After some calls psycopg prepares a statement. PostgreSQL may then use one plan for all values."""
    store = SqlTaskStore(engine)
    for _ in range(8):
        store.get(task_id(77))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one() == 0

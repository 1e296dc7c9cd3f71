"""Fills databases with tasks. The database generates the rows itself, so that a million rows take seconds."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Integer, String, cast, func, insert, literal, select, text
from sqlalchemy.sql.elements import ColumnElement

from models.names import TINY_MODEL_NAME
from models.request.request import RequestLimits, parse_request
from storage.db.engine import is_sqlite, migrate, open_engine
from storage.db.schema import tasks
from storage.tasks import ANONYMOUS, State
from tests.e2e.server import QUICK

FINISHED = {
    "attempts": 1,
    "step": 3,
    "progress": 1.0,
    "duration_s": 0.7,
    "size_bytes": 100_000,
}
BATCH = 50_000
"""Rows per statement, so that no statement takes long on PostgreSQL."""
VACUUM_TIMEOUT_S = 600.0
UNSERVED_MODEL = "gone/model"
UNSERVED_FROM = 1_000_000_000
"""The number of the first task that waits for UNSERVED_MODEL."""
WAITING = {"attempts": 0, "step": 0, "progress": 0.0}


def task_id(number: int) -> str:
    """The id of a generated task. The first one has the number 1."""
    return f"{number:032x}"


def fill(url: str, numbers: Mapping[State, int], unserved: int = 0) -> None:
    """Create the database at `url` with these numbers of tasks per state, numbered consecutively.

    The tasks have ended recently, because retention removes old ones. `unserved` more tasks, queued before them, wait
    for a model that is not served.
    """
    engine = open_engine(url)
    try:
        migrate(engine)
        first = 1
        with engine.begin() as connection:
            for start in range(0, unserved, BATCH):
                _insert(connection, State.QUEUED, UNSERVED_FROM + start, min(BATCH, unserved - start), UNSERVED_MODEL)
            for state, number in numbers.items():
                for start in range(first, first + number, BATCH):
                    _insert(connection, state, start, min(BATCH, first + number - start))
                first += number
        if not is_sqlite(engine):
            _settle(engine)
    finally:
        engine.dispose()


def _settle(engine: Engine) -> None:
    """Do what autovacuum does in the course of a day."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.timeout_s = VACUUM_TIMEOUT_S
        connection.execute(text("VACUUM ANALYZE tasks"))


def _insert(connection: Connection, state: State, first: int, number: int, model: str = TINY_MODEL_NAME) -> None:
    each = select(literal(first, Integer).label("number")).cte("each", recursive=True)
    each = each.union_all(select(each.c.number + 1).where(each.c.number < first + number - 1))
    values = _values(connection, state, each.c.number) | {"model": literal(model)}
    rows = select(*(value.label(name) for name, value in values.items()))
    connection.execute(insert(tasks).from_select(list(values), rows))


def _values(connection: Connection, state: State, number: ColumnElement[int]) -> dict[str, ColumnElement[object]]:
    """Each column of a row as an expression of its number."""
    hexadecimal = (
        func.printf("%032x", number) if connection.dialect.name == "sqlite" else func.lpad(func.to_hex(number), 32, "0")
    )
    now = time.time()
    plain = {
        "state": state,
        "request": parse_request({**QUICK, "seed": 7}, RequestLimits()).model_dump_json(),
        "base_url": "http://127.0.0.1",
        "owner": ANONYMOUS,
        "explicit_fields": "[]",
        "claim_token": 1,
        "requeues": 0,
        "bytes_done": 0,
        "bytes_total": 0,
        "created_at": now - 3,
        **(WAITING if state == State.QUEUED else FINISHED),
    }
    ended: dict[str, ColumnElement[object]] = {}
    if state != State.QUEUED:
        ended = {
            "started_at": literal(now - 2),
            "finished_at": literal(now) - number * 0.001,
            "output_key": literal("outputs/ltx2_") + hexadecimal + ".mp4",
            "poster_key": literal("outputs/ltx2_") + hexadecimal + ".jpg",
        }
    return {"id": cast(hexadecimal, String), **{name: literal(value) for name, value in plain.items()}, **ended}

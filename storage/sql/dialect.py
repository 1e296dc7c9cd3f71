"""Statements that SQLAlchemy spells differently for SQLite and PostgreSQL, or that need a hint for one of them."""

import time
from typing import Any

from sqlalchemy import CTE, Connection, Engine, Select, Table, extract, func, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from storage.db.engine import is_sqlite


def lease_clock(engine: Engine) -> ColumnElement[Any]:
    """The clock of leases, in seconds: the database's own, so that hosts need not agree; for SQLite this host's."""
    if is_sqlite(engine):
        return literal(time.monotonic())
    return extract("epoch", func.clock_timestamp())


def conflict_insert(connection: Connection, table: Table) -> Any:
    """An INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`, in the dialect of the connection."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def lock_free_rows(query: Select[Any]) -> CTE:
    """Lock the rows of `query` until the transaction ends, and pass over those that another transaction has locked.

    MATERIALIZED: PostgreSQL may run a plain subquery once for each row, and then takes more than its limit.
    """
    locked: CTE = query.with_for_update(skip_locked=True).cte("locked").prefix_with("MATERIALIZED")
    return locked

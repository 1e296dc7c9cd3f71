"""Connections to PostgreSQL that answer or fail in bounded time.

A server that hangs (a full disk, a stopped process) keeps its sockets open, so no time-out of its own ends a wait.
This one is on our side.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, create_engine, event

CONNECT_TIMEOUT_S = 5
QUERY_TIMEOUT_S = 10.0
"""How long one statement may take. Every statement of the task store is an indexed one of milliseconds."""
POOL_SIZE = 10
"""Connections that one process holds at most."""


class TimeoutConnection(psycopg.Connection[Any]):
    """Closes itself when a statement is not answered in `timeout_s`; the pool then opens another."""

    timeout_s: float = QUERY_TIMEOUT_S

    def __del__(self, *args: Any) -> None:  # psycopg's takes one
        """Close in silence: an engine that is disposed of while a thread still reads leaves that connection to us."""
        if hasattr(self, "pgconn"):
            self.close()

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for what libpq is to do. psycopg looks in at every `interval`, also when nothing came."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.timeout_s
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"no answer in {self.timeout_s:g} s")
                wanted = steps.send(ready)
        except StopIteration as end:
            return end.value


def open_postgres(url: URL) -> Engine:
    """Make the engine for a PostgreSQL url. Connections are pooled, bounded, and checked before use."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,  # an error may be logged, and the values of a row hold the prompt
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=QUERY_TIMEOUT_S,
        # A plan that is kept fits no value in particular: once psycopg had prepared a submit, PostgreSQL read the whole
        # table for the length of the queue (0.2 s with a million tasks). Connection poolers like it better, too.
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "prepare_threshold": None},
    )
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(_dialect: object, _record: object, args: list[Any], parameters: dict[str, Any]) -> TimeoutConnection:
    return TimeoutConnection.connect(*args, **parameters)

"""PostgreSQL connections that answer or fail within a limited time.

A server that hangs (a full disk, a stopped process) keeps its sockets open, so none of its own timeouts ends a wait.
The timeout here is enforced by the client.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, create_engine, event

CONNECT_TIMEOUT_S = 5
QUERY_TIMEOUT_S = 10.0
"""Maximum time of one statement. All statements of the task store use an index and take milliseconds."""
POOL_SIZE = 10
"""Maximum connections of one process."""


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection that closes itself when a statement takes longer than `timeout_s`. The pool then opens another."""

    timeout_s: float = QUERY_TIMEOUT_S

    def __del__(self, *args: Any) -> None:  # psycopg's method takes one argument
        """Close without a warning: a disposed engine leaves connections open that a thread still reads from."""
        if hasattr(self, "pgconn"):
            self.close()

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for libpq, at most `timeout_s`. psycopg resumes the generator at each `interval`, also without data."""
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
    """Create the engine for a PostgreSQL url. Connections are pooled, limited in number, and checked before use."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,  # errors may be logged, and the values of a row include the prompt
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=QUERY_TIMEOUT_S,
        # No prepared statements: their generic plans ignore the values. With them PostgreSQL read the whole table to
        # count the queue at a submit (0.2 s with a million tasks). Connection poolers also work better without them.
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "prepare_threshold": None},
    )
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(_dialect: object, _record: object, args: list[Any], parameters: dict[str, Any]) -> TimeoutConnection:
    return TimeoutConnection.connect(*args, **parameters)

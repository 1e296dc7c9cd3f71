"""The apps on one database and their Dispatchers: which may claim tasks, and how many share the Generators.

During an upgrade two apps use one database. The newest ready app claims. The older one finishes the tasks it holds,
and claims again if the newer one dies. All methods block and raise StoreUnavailable.
"""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.db.engine import is_sqlite, read_only_engine, translate_db_errors
from storage.db.schema import deploys, dispatchers
from storage.sql.dialect import lease_clock

ROW_TTL_S = 3600.0
"""When the row of a dead Dispatcher is deleted. Until then it records that its model was served recently."""


@dataclass(frozen=True)
class DispatcherRegistration:
    """A Dispatcher's description of itself. `app` rises with every deploy; `ready` is True once the whole app runs."""

    name: str
    app: int
    model: str
    ready: bool


@dataclass(frozen=True)
class MembershipStatus:
    """The result of a heartbeat."""

    may_claim: bool
    """No other app has precedence over this Dispatcher's app."""
    num_dispatchers: int
    """Live Dispatchers of the app, including this one."""
    is_leader: bool
    """This Dispatcher is the first of them by name. Exactly one is."""


class SqlDispatcherRegistry:
    """Reads and writes the tables `deploys` and `dispatchers`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def register(self) -> int:
        """Number a new app. The number is higher than all earlier ones on this database."""
        with translate_db_errors(), self._engine.begin() as connection:
            if is_sqlite(self._engine):  # its lease clock, time.monotonic(), restarts with the host
                connection.execute(delete(dispatchers))
            made = connection.execute(insert(deploys).values(started_at=time.time()).returning(deploys.c.number))
            return int(made.scalar_one())

    def heartbeat(self, me: DispatcherRegistration, alive_s: float) -> MembershipStatus:
        """Keep `me` alive for another `alive_s` seconds, and read its standing among the other Dispatchers."""
        values = {"app": me.app, "model": me.model, "ready": me.ready, "alive_until": self._now() + alive_s}
        mine = dispatchers.c.name == me.name
        with translate_db_errors(), self._engine.begin() as connection:
            if connection.execute(update(dispatchers).where(mine).values(values)).rowcount == 0:
                connection.execute(insert(dispatchers).values(name=me.name, **values))
            return self._status(connection, me)

    def is_superseded(self, app: int, model: str) -> bool:
        """Whether a newer app is alive and ready and serves the same model."""
        newer = (dispatchers.c.app > app) & (dispatchers.c.model == model) & dispatchers.c.ready
        living = dispatchers.c.alive_until > self._now()
        with translate_db_errors(), read_only_engine(self._engine).connect() as connection:
            return connection.execute(select(dispatchers.c.name).where(newer, living).limit(1)).first() is not None

    def deregister(self, name: str) -> None:
        """Mark a Dispatcher as ended, and delete the rows of those that died more than ROW_TTL_S ago."""
        long_dead = dispatchers.c.alive_until < self._now() - ROW_TTL_S
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(update(dispatchers).where(dispatchers.c.name == name).values(alive_until=self._now()))
            connection.execute(delete(dispatchers).where(long_dead))

    def _status(self, connection: Connection, me: DispatcherRegistration) -> MembershipStatus:
        alive = (dispatchers.c.alive_until > self._now()) | (dispatchers.c.name == me.name)
        living = select(dispatchers).where(alive, dispatchers.c.model == me.model)
        rows = connection.execute(living).all()
        first = max((row.ready, row.app) for row in rows)
        names = [row.name for row in rows if row.app == me.app]
        return MembershipStatus(first[1] == me.app, len(names), me.name == min(names))

    def _now(self) -> ColumnElement[Any]:
        return lease_clock(self._engine)

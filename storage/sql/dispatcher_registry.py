"""The apps on one database and their dispatchers: who may claim tasks, and how many quota the Generators.

During an upgrade two apps work on one database. The newest that is ready claims; the older one finishes what it
holds, and claims again should the newer one die. All methods block and raise StoreUnavailable.
"""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, extract, func, insert, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.db.engine import is_sqlite, read_only_engine, translate_db_errors
from storage.db.schema import deploys, dispatchers

ROW_TTL_S = 3600.0
"""When the row of a dead dispatcher is removed: until then it says that its model was served not long ago."""


@dataclass(frozen=True)
class DispatcherRegistration:
    """A dispatcher as it describes itself. `app` rises with every deploy; `ready` says whether all of it runs."""

    name: str
    app: int
    model: str
    ready: bool


@dataclass(frozen=True)
class MembershipStatus:
    """What a dispatcher learns when it has described itself."""

    may_claim: bool
    """No other app comes before its own."""
    num_dispatchers: int
    """The living dispatchers of its app, itself among them."""
    is_leader: bool
    """It comes first among them by name: exactly one does."""


class SqlDispatcherRegistry:
    """The two tables behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def register(self) -> int:
        """Number a new app: higher than all before it on this database."""
        with translate_db_errors(), self._engine.begin() as connection:
            if is_sqlite(self._engine):  # the clock of its rows starts anew with the host
                connection.execute(delete(dispatchers))
            made = connection.execute(insert(deploys).values(started_at=time.time()).returning(deploys.c.number))
            return int(made.scalar_one())

    def heartbeat(self, me: DispatcherRegistration, alive_s: float) -> MembershipStatus:
        """Write that `me` lives for another `alive_s`, and read how it stands among the others."""
        values = {"app": me.app, "model": me.model, "ready": me.ready, "alive_until": self._now() + alive_s}
        mine = dispatchers.c.name == me.name
        with translate_db_errors(), self._engine.begin() as connection:
            if connection.execute(update(dispatchers).where(mine).values(values)).rowcount == 0:
                connection.execute(insert(dispatchers).values(name=me.name, **values))
            return self._status(connection, me)

    def is_superseded(self, app: int, model: str) -> bool:
        """Whether a newer app lives that is ready and serves the same model."""
        newer = (dispatchers.c.app > app) & (dispatchers.c.model == model) & dispatchers.c.ready
        living = dispatchers.c.alive_until > self._now()
        with translate_db_errors(), read_only_engine(self._engine).connect() as connection:
            return connection.execute(select(dispatchers.c.name).where(newer, living).limit(1)).first() is not None

    def deregister(self, name: str) -> None:
        """A dispatcher lives no longer, and those that died long ago are forgotten."""
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
        """The clock of leases: the database's own, or this host's for a file."""
        if is_sqlite(self._engine):
            return literal(time.monotonic())
        return extract("epoch", func.clock_timestamp())

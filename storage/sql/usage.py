"""GPU time and runs per owner and day."""

import datetime

from sqlalchemy import select, true

from storage.db.engine import translate_db_errors
from storage.db.schema import usage
from storage.sql.base import SqlStore
from storage.sql.dialect import conflict_insert
from storage.tasks import Usage


class UsageQueries(SqlStore):
    """Reads and writes one row per owner and UTC day."""

    def add_usage(self, owner: str, gpu_s: float, runs: int = 1) -> None:
        """Add started runs and GPU seconds to the usage of an owner."""
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        with translate_db_errors(), self._engine.begin() as connection:
            added = conflict_insert(connection, usage).values(owner=owner, day=day, runs=runs, gpu_s=gpu_s)
            more = {"runs": usage.c.runs + added.excluded.runs, "gpu_s": usage.c.gpu_s + added.excluded.gpu_s}
            connection.execute(added.on_conflict_do_update(index_elements=["owner", "day"], set_=more))

    def usage(self, owner: str | None = None) -> list[Usage]:
        """The usage by owner and UTC day; with `owner`, only of that owner."""
        wanted = true() if owner is None else usage.c.owner == owner
        found = self._read(select(usage).where(wanted).order_by(usage.c.owner, usage.c.day))
        return [Usage(row.owner, row.day, row.runs, row.gpu_s) for row in found]

"""SQLite files with the tables of this version. They are copies of one: migrating takes longer than most tests."""

import tempfile
from functools import cache
from pathlib import Path

from storage.db.engine import migrate, open_engine


def new_sqlite(file: Path) -> str:
    """Make a task database without a row. Returns its url."""
    file.write_bytes(_migrated())
    return f"sqlite:///{file}"


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tasks.db"
        engine = open_engine(f"sqlite:///{file}")
        migrate(engine)
        engine.dispose()
        return file.read_bytes()

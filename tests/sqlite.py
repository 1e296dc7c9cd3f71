"""SQLite files with the current tables. They are copies of one file: a migration takes longer than most tests."""

import tempfile
from functools import cache
from pathlib import Path

from storage.db.engine import migrate, open_engine


def new_sqlite(file: Path) -> str:
    """Create a task database without rows. Returns its url."""
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

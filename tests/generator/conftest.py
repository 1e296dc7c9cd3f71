"""A task store in a new file, for the tests of the Generator's parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.db.engine import open_engine
from tests.sqlite import new_sqlite


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(new_sqlite(tmp_path / "tasks.db"))
    yield engine
    engine.dispose()

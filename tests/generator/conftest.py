"""A task store in a new file, for the tests of the Generator's parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.settings import Settings
from storage.db.engine import migrate, open_engine
from storage.task_store import SqlTaskStore
from tests.sqlite import new_sqlite


@pytest.fixture
def store(settings: Settings) -> Iterator[SqlTaskStore]:
    """The store that the `settings` of a module name."""
    engine = open_engine(settings.database_url)
    migrate(engine)
    store = SqlTaskStore(engine)
    yield store
    store.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(new_sqlite(tmp_path / "tasks.db"))
    yield engine
    engine.dispose()

"""The databases and output stores that the contract suites run against. A new one is one more parameter here."""

import shutil
from pathlib import Path

import pytest

from storage.database import migrate, open_engine
from storage.local import LocalOutputStore
from storage.outputs import OutputStore
from storage.task_store import SqlTaskStore


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory) -> Path:
    """A SQLite file with its tables, to copy: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "tasks.db"
    engine = open_engine(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


def sqlite_url(folder: Path, request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_file'), folder / 'tasks.db')}"


DATABASES = {"sqlite": sqlite_url}
OUTPUT_STORES = {"local": lambda folder: LocalOutputStore(folder / "store")}


@pytest.fixture(params=DATABASES)
def database_url(request, tmp_path) -> str:
    """A database of its own, with its tables and without a row."""
    return DATABASES[request.param](tmp_path, request)


@pytest.fixture
def store(database_url):
    """A task store on it."""
    store = SqlTaskStore.open(database_url)
    yield store
    store.close()


@pytest.fixture(params=OUTPUT_STORES)
def outputs(request, tmp_path) -> OutputStore:
    """An empty output store."""
    return OUTPUT_STORES[request.param](tmp_path)

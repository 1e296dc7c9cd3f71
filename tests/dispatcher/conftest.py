"""Dispatchers without Ray: the real class on a real PostgreSQL, with workers that only write to the row."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.dispatcher import leases, membership
from deployments.settings import DispatcherSettings, GeneratorSettings, OutputSettings, Settings
from storage.db.engine import migrate, open_engine
from storage.outputs.local import LocalOutputStore
from storage.task_store import SqlTaskStore
from tests.dispatcher.fakes import Workers
from tests.postgres import Postgres, running_postgres

ALIVE_S = 5.0
"""How long a killed Dispatcher counts as alive. Longer than a live one may be delayed on a busy machine."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    url = postgres.database()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.fixture
def anyio_backend() -> str:
    """The event loop for async tests."""
    return "asyncio"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the heartbeat, and give each Dispatcher its own id: several run in one process."""
    monkeypatch.setattr(membership, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(membership, "EXPIRY_S", ALIVE_S)
    numbers = iter(range(100))
    real = leases.DispatcherId.current()
    monkeypatch.setattr(
        leases.DispatcherId,
        "current",
        lambda: replace(real, started_at=real.started_at + next(numbers) / 100),
    )


@pytest.fixture
def settings(database_url: str, tmp_path: Path, hurried: None) -> Settings:
    return Settings(
        database_url=database_url,
        outputs=OutputSettings(url=f"file:{tmp_path}"),
        dispatcher=DispatcherSettings(replicas=2, poll_interval_s=0.05, drain_timeout_s=0.2),
        generator=GeneratorSettings(max_replicas=3),
    )


@pytest.fixture
def store(settings: Settings):
    store = SqlTaskStore(open_engine(settings.database_url))
    yield store
    store.close()


@pytest.fixture
def workers(store: SqlTaskStore, tmp_path: Path) -> Workers:
    return Workers(store, LocalOutputStore(tmp_path), render_s=0.05)

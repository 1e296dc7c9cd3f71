"""Dispatchers without Ray: the real class on a real PostgreSQL, with workers that only write to the row."""

from collections.abc import Iterator

import pytest

from storage.database import migrate, open_engine
from tests.postgres import Postgres, running_postgres


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
    """What runs the coroutines among the tests."""
    return "asyncio"

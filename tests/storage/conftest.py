"""The databases and output stores of the contract tests. To test a new one, add one parameter here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.db.engine import migrate, open_engine
from storage.outputs.local import LocalOutputStore
from storage.outputs.s3 import S3OutputStore
from storage.outputs.s3_options import S3Options
from storage.outputs.store import OutputStore
from storage.task_store import SqlTaskStore
from tests.postgres import Postgres, running_postgres
from tests.s3 import REGION, give_credentials, new_bucket, s3_server
from tests.sqlite import new_sqlite


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server for the whole test run."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_database(postgres: Postgres) -> str:
    """A PostgreSQL database with tables, as a template for copies."""
    url = postgres.database()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return url


@contextmanager
def sqlite_url(folder: Path, _request: pytest.FixtureRequest) -> Iterator[str]:
    yield new_sqlite(folder / "tasks.db")


@contextmanager
def postgresql_url(_folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.database(template=request.getfixturevalue("migrated_database"))
    yield url
    server.drop(url)


DATABASES = {"sqlite": sqlite_url, "postgresql": postgresql_url}


def s3_store(_folder: Path, request: pytest.FixtureRequest) -> S3OutputStore:
    """A store in a new bucket on a real server."""
    give_credentials(request.getfixturevalue("monkeypatch"))
    endpoint = request.getfixturevalue("s3_endpoint")
    return S3OutputStore(new_bucket(endpoint), "videos", S3Options(endpoint_url=endpoint, region=REGION))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


OUTPUT_STORES = {"local": lambda folder, _request: LocalOutputStore(folder / "store"), "s3": s3_store}


@pytest.fixture(params=DATABASES)
def database_url(request, tmp_path) -> Iterator[str]:
    """The url of a new database with tables and without rows."""
    with DATABASES[request.param](tmp_path, request) as url:
        yield url


@pytest.fixture
def store(database_url):
    """A task store on that database."""
    store = SqlTaskStore.open(database_url)
    yield store
    store.close()


@pytest.fixture(params=OUTPUT_STORES)
def outputs(request, tmp_path) -> OutputStore:
    """An empty output store."""
    return OUTPUT_STORES[request.param](tmp_path, request)

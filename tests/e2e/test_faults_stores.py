"""Several replicas of all deployments on PostgreSQL: they scale with the backlog, and survive a database outage."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checks import assert_nothing_lost
from tests.e2e.server import Server, running_server
from tests.postgres import Postgres, running_postgres

pytestmark = pytest.mark.timeout(600)
AWAY_S = 20
LEASE_S = 15
IDLE_UNLOAD_S = 6
IN_FLIGHT = 20


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    args = {
        "database_url": postgres.database(),
        "ingress": {"replicas": 2},
        "dispatcher": {"replicas": 2, "lease_s": LEASE_S},
        "generator": {"max_replicas": 2, "num_cpus": 0.3, "downscale_to_zero_delay_s": IDLE_UNLOAD_S},
        "encoder": {"replicas": 2},
    }
    folder: Path = tmp_path_factory.mktemp("stores")
    with running_server(folder, args) as running:
        yield running


def test_a_backlog_scales_the_generators_up_and_back_to_none(server: Server) -> None:
    ids = [server.submit(num_inference_steps=20, height=256, width=384) for _ in range(IN_FLIGHT)]
    most = 0
    while server.poll(ids[-1])["status"] == "processing":
        most = max(most, len(server.replicas("Generator")))
        time.sleep(0.3)
    bodies = assert_nothing_lost(server, ids)
    assert {body["status"] for body in bodies} == {"completed"}
    assert most == 2
    deadline = time.monotonic() + IDLE_UNLOAD_S + 60
    while server.replicas("Generator"):
        assert time.monotonic() < deadline, "the Generators stay"
        time.sleep(0.5)


def test_a_killed_dispatcher_leaves_its_tasks_to_the_other(server: Server) -> None:
    ids = [server.submit() for _ in range(IN_FLIGHT)]
    server.wait_until(ids[0], lambda body: body.get("stage") is not None or body["status"] != "processing")
    server.replicas("Dispatcher")[0].kill()
    bodies = assert_nothing_lost(server, ids)
    assert {body["status"] for body in bodies} == {"completed"}


def test_a_database_that_is_away_for_a_while_loses_no_task(server: Server, postgres: Postgres) -> None:
    ids = [server.submit() for _ in range(IN_FLIGHT)]
    server.wait_until(ids[0], lambda body: body.get("stage") == "denoising" or body["status"] != "processing")
    postgres.stop()
    time.sleep(AWAY_S)
    postgres.start()
    bodies = assert_nothing_lost(server, ids)
    assert {body["status"] for body in bodies} == {"completed"}

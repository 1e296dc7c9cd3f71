"""A second Ray node beside a server on SQLite: it gets no replica, /health names it, and the next start is refused."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from deployments.cluster.single_node import CHECK_INTERVAL_S, REMEDY
from tests.e2e.checks import assert_nothing_lost
from tests.e2e.server import ROOT, START_TIMEOUT_S, Server, running_server

pytestmark = pytest.mark.timeout(600)
BUILD = "import ray; from deployments.app import *; ray.init(); build(Settings())"


@contextmanager
def second_node(server: Server) -> Iterator[psutil.Process]:
    command = [Path(sys.executable).with_name("ray"), "start", f"--address={server.gcs_address()}", "--block"]
    with (server.folder / "node.log").open("wb") as log:
        started = subprocess.Popen(
            [*command, "--num-cpus=2"], env=server.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    node = psutil.Process(started.pid)
    try:
        yield node
    finally:
        doomed = [node, *node.children(recursive=True)]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        started.wait(30)
        psutil.wait_procs(doomed, timeout=30)


def notices(server: Server) -> list[str]:
    return [each for each in server.client.get("/health").json()["notices"] if REMEDY in each]


def test_a_second_node_gets_no_replica_of_a_server_on_sqlite_and_a_start_beside_it_is_refused(tmp_path: Path) -> None:
    with running_server(tmp_path, environment={"RAY_AUTH_MODE": "disabled"}) as server:
        assert notices(server) == []
        with second_node(server) as node:
            deadline = time.monotonic() + START_TIMEOUT_S + CHECK_INTERVAL_S
            while not notices(server):
                assert time.monotonic() < deadline, (tmp_path / "node.log").read_text()
                time.sleep(0.5)
            server.replicas("Encoder")[0].kill()  # Serve spreads replicas over nodes, so the next one would start there
            bodies = assert_nothing_lost(server, [server.submit() for _ in range(3)])
            assert {body["status"] for body in bodies} == {"completed"}
            commands = [" ".join(each.cmdline()) for each in node.children(recursive=True)]
            assert any("raylet" in each for each in commands)
            assert not [each for each in commands if "ServeReplica" in each]
            environment = {**server.environment, "RAY_ADDRESS": server.gcs_address(), "PYTHONPATH": str(ROOT)}
            build = subprocess.run(
                [sys.executable, "-c", BUILD],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert build.returncode != 0
            assert REMEDY in build.stderr

"""One part of a running server is lost, or all of it is suspended, with 20 tasks in flight: no task is lost."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.checks import assert_nothing_lost
from tests.e2e.server import Server, running_server

pytestmark = pytest.mark.timeout(600)
LEASE_S = 6
STANDSTILL_S = 9
"""Longer than a lease, and than Serve's timeout for a health check."""
IN_FLIGHT = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("faults")
    with running_server(folder, {"dispatcher": {"lease_s": LEASE_S}}) as running:
        running.wait(running.submit())  # the model is loaded then
        yield running


def at(*stages: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: body.get("stage") in stages or body["status"] != "processing"


@pytest.mark.parametrize(
    ("mark", "stage"),
    [
        ("ServeReplica:ltx2:Ingress", "denoising"),
        ("ServeReplica:ltx2:Dispatcher", "denoising"),
        ("ServeReplica:ltx2:Generator", "denoising"),
        ("ServeReplica:ltx2:Generator", "decoding"),
        ("ServeReplica:ltx2:Encoder", "encoding"),
        ("ServeController", "denoising"),
        ("haproxy -db", "denoising"),
    ],
)
def test_what_is_killed_loses_no_task(server: Server, mark: str, stage: str) -> None:
    first = server.submit(num_inference_steps=10, height=256, width=384, num_frames=49)
    ids = [first, *(server.submit() for _ in range(IN_FLIGHT - 1))]
    server.wait_until(first, at(stage))
    victims = server.processes_like(mark)
    assert victims, f"no process like {mark}"
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    bodies = assert_nothing_lost(server, ids)
    assert {body["status"] for body in bodies} == {"completed"}


def test_a_machine_that_was_suspended_goes_on_where_it_was(server: Server) -> None:
    ids = [server.submit() for _ in range(IN_FLIGHT)]
    server.wait_until(ids[0], at("denoising"))
    everything = server.processes()
    for order, pause_s in ((signal.SIGSTOP, STANDSTILL_S), (signal.SIGCONT, 0)):
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(order)
        time.sleep(pause_s)
    bodies = assert_nothing_lost(server, ids)
    assert {body["status"] for body in bodies} == {"completed"}

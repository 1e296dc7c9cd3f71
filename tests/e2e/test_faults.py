"""No way of stopping or killing the server loses a task."""

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.checks import assert_nothing_lost
from tests.e2e.faulty_app import HUNGRY_PROMPT, POISON_PROMPT, STUCK_PROMPT
from tests.e2e.server import ROOT, Server
from tests.ingress.webhooks.receivers import SECRET, Receiver

pytestmark = pytest.mark.timeout(900)


def _interrupt(server: Server) -> None:
    server.interrupt()


def _terminate(server: Server) -> None:
    """Stop it like `kill`, systemd and Docker. It drains, then refuses connections, and leaves no process."""
    processes = server.processes()
    assert server.processes_like("haproxy -db")
    processes[0].send_signal(signal.SIGTERM)
    assert server.wait_for_exit() == 0
    assert [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    with pytest.raises(httpx.ConnectError):
        server.client.get("/health")


def _kill_all(server: Server) -> None:
    server.kill()


def _kill_all_but_haproxy(server: Server) -> None:
    server.kill(spare_haproxy=True)


def _kill_raylet(server: Server) -> None:
    """Lose the node. The rest of the server is then killed, as a supervisor would do."""
    for process in server.processes_like("raylet/raylet"):
        process.kill()
    time.sleep(2)
    server.kill()


def _rendering_or_done(body: dict[str, Any]) -> bool:
    return body.get("stage") == "denoising" or body["status"] != "processing"


STOPS = (_interrupt, _terminate, _kill_all, _kill_all_but_haproxy, _kill_raylet)


def test_every_task_ends_as_completed_after_restarts_of_every_kind(tmp_path: Path) -> None:
    """The client receives a webhook for each end, whatever process dies meanwhile."""
    server = Server(tmp_path, {"webhooks": {"allow_private": True, "timeout_s": 2}}, {"LTX2_WEBHOOKS__SECRET": SECRET})
    try:
        with Receiver().serving() as receiver:
            server.start()
            ids: list[str] = []
            long = {"num_inference_steps": 20, "height": 256, "width": 384}
            for stop in STOPS:
                ids += [server.submit(**fields, webhook_url=receiver.url()) for fields in (long, {}, {}, {})]
                server.wait_until(ids[-4], _rendering_or_done)
                stop(server)
                server.start()
            bodies = assert_nothing_lost(server, ids)
            assert {body["status"] for body in bodies} == {"completed"}
            for task_id in ids:
                server.wait_until(task_id, lambda body: body["webhook"]["state"] == "delivered")
        told = {json.loads(message.body)["data"]["task_id"] for message in receiver.messages}
        assert told == set(ids)
    finally:
        server.close()


def test_a_model_that_cannot_be_loaded_fails_its_tasks_and_is_tried_again(tmp_path: Path) -> None:
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file where the folder should be")
    server = Server(tmp_path, {"cache_dir": str(in_the_way)}, {})
    try:
        server.start()
        body = server.wait(server.submit())
        assert body["status"] == "failed"
        assert body["error_code"] == "model_unavailable"
        assert server.client.get("/health").json()["model"]["state"] == "failed"
        in_the_way.unlink()
        assert server.wait(server.submit())["status"] == "completed"
        assert server.client.get("/health").json()["model"]["state"] == "ready"
    finally:
        server.close()


def test_a_task_harms_no_other_whether_it_hangs_or_kills_its_generator_or_eats_up_its_memory(tmp_path: Path) -> None:
    args = {"generator": {"stall_timeout_s": 4, "downscale_to_zero_delay_s": 600}}
    server = Server(tmp_path, args, {"PYTHONPATH": str(ROOT)}, "tests.e2e.faulty_app:build")
    try:
        server.start()
        stuck = server.submit(prompt=STUCK_PROMPT)
        ahead = [server.submit() for _ in range(9)]
        poison = server.submit(prompt=POISON_PROMPT)
        hungry = server.submit(prompt=HUNGRY_PROMPT)
        behind = [server.submit() for _ in range(8)]
        server.wait_until(stuck, lambda body: body.get("stage") == "denoising")
        before = server.replicas("FaultyGenerator")
        assert before
        ids = [stuck, *ahead, *behind, hungry, poison]
        *unharmed, starved, poisoned = assert_nothing_lost(server, ids, {"replica_lost", "render_failed"})
        assert {body["status"] for body in unharmed} == {"completed"}
        assert poisoned["status"] == "failed"
        assert "3 times" in poisoned["error"]
        assert starved["error_code"] == "render_failed"
        assert "allocate memory" in starved["error"]
        assert {each.pid for each in before}.isdisjoint(each.pid for each in server.replicas("FaultyGenerator"))
    finally:
        server.close()


@pytest.mark.parametrize(
    ("args", "environment", "named"),
    [
        ({}, {"LTX2_MODLE": "tiny"}, "LTX2_MODLE"),
        ({"limits": {"max_stpes": 3}}, {}, "max_stpes"),
        ({"model": "Lightricks/LTX-2"}, {}, "CUDA"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name(
    tmp_path: Path, args: dict[str, object], environment: dict[str, str], named: str
) -> None:
    server = Server(tmp_path, args, environment)
    try:
        server.launch()
        deadline = time.monotonic() + 120
        while named not in server.log():
            assert time.monotonic() < deadline, server.log()[-3000:]
            time.sleep(0.5)
        with contextlib.suppress(httpx.HTTPError):
            assert server.client.get("/health").status_code != 200
    finally:
        server.close()

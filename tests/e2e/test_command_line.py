"""`ltx2` against the real server: it continues after a server restart during a task, and Ctrl-C frees the Generator."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.server import TASK_TIMEOUT_S, running_server

SMALL = ("--width", "128", "--height", "128", "--num-frames", "9")
PROMPT = "A paper boat drifts across a bowl."


@pytest.fixture
def server(tmp_path):
    with running_server(tmp_path, {}) as running:
        yield running


def ltx2(server, folder, *arguments):
    environment = {**os.environ, "LTX_SERVER": server.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-m", "ltx2_client", "generate", PROMPT, *SMALL, *arguments]
    return subprocess.Popen(program, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def running(server):
    """The id of the only task, once a Generator runs it."""
    end = time.monotonic() + TASK_TIMEOUT_S
    while time.monotonic() < end:
        for task in server.client.get("/v1/video/tasks", params={"state": "processing"}).json()["tasks"]:
            return task["task_id"]
        time.sleep(0.1)
    raise AssertionError("no task was started")


def test_a_task_canceled_by_ctrl_c_makes_room_and_a_restart_goes_unnoticed(server, tmp_path):
    process = ltx2(server, tmp_path, "--num-inference-steps", "100")
    task_id = running(server)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"{task_id}: canceled" in err

    process = ltx2(server, tmp_path, "--num-inference-steps", "40", "-o", "out.mp4")
    running(server)
    server.kill()
    server.start()
    _, err = process.communicate(timeout=TASK_TIMEOUT_S)
    assert process.returncode == 0, err
    assert b"ftyp" in (tmp_path / "out.mp4").read_bytes()[:12]

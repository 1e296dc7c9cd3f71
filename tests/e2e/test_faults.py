"""No way of stopping or killing loses a task."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import QUICK, ROOT, Server
from tests.e2e.stuck_app import STUCK_PROMPT

pytestmark = pytest.mark.timeout(900)


def _interrupt(server: Server) -> None:
    server.interrupt()


def _terminate(server: Server) -> None:
    processes = server.processes()
    processes[0].send_signal(signal.SIGTERM)
    server.wait_for_exit()


def _kill_all(server: Server) -> None:
    server.kill()


def _kill_all_but_haproxy(server: Server) -> None:
    server.kill(spare_haproxy=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, {}, {})
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("stop", [_interrupt, _terminate, _kill_all, _kill_all_but_haproxy])
def test_every_task_ends_as_completed_after_a_restart(own_server: Server, stop: Callable[[Server], None]) -> None:
    ids = [own_server.submit(num_inference_steps=30, height=256, width=384) for _ in range(4)]
    own_server.wait_until(ids[0], lambda body: body.get("stage") == "denoising" and body["step"] > 2)
    stop(own_server)
    own_server.start()
    for task_id in ids:
        body = own_server.wait(task_id)
        assert body["status"] == "completed", body
        assert own_server.client.get(body["url"]).status_code == 200
    files = sorted(path.name for path in (own_server.folder / "data/outputs/outputs").iterdir())
    assert files == sorted(f"ltx2_{task_id}.{kind}" for task_id in ids for kind in ("mp4", "jpg"))


def test_a_killed_replica_loses_no_task(own_server: Server) -> None:
    for deployment, stage in (("Generator", "denoising"), ("Encoder", "encoding"), ("Dispatcher", "denoising")):
        ids = [own_server.submit(num_inference_steps=30, height=256, width=384, num_frames=49) for _ in range(2)]
        own_server.wait_until(ids[0], lambda body, stage=stage: body.get("stage") == stage or "url" in body)
        for process in own_server.replicas(deployment):
            process.kill()
        for task_id in ids:
            assert own_server.wait(task_id)["status"] == "completed", deployment


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


def test_a_step_that_never_returns_ends_with_the_replica_replaced(tmp_path: Path) -> None:
    args = {"generator": {"stall_timeout_s": 4, "downscale_to_zero_delay_s": 600}}
    server = Server(tmp_path, args, {"PYTHONPATH": str(ROOT)}, "tests.e2e.stuck_app:build")
    try:
        server.start()
        stuck = server.submit(prompt=STUCK_PROMPT)
        behind = server.submit()
        server.wait_until(stuck, lambda body: body.get("stage") == "denoising")
        before = server.replicas("Generator")
        assert server.wait(stuck)["status"] == "completed"
        assert server.wait(behind)["status"] == "completed"
        assert {each.pid for each in before}.isdisjoint(each.pid for each in server.replicas("Generator"))
    finally:
        server.close()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    server = Server(tmp_path, {"limits": {"max_steps": 9}}, {"LTX2_LIMITS__MAX_STEPS": "5"})
    try:
        server.start()
        refused = server.client.post("/v1/video/async_t2v", json={**QUICK, "num_inference_steps": 6})
        assert refused.status_code == 422
        assert refused.json()["allowed"] == "a whole number from 2 to 5"
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

"""`serve deploy` onto a cluster that is already running, here one with a single CPU."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.e2e.server import QUICK, ROOT, START_TIMEOUT_S
from tests.ports import free_port

pytestmark = pytest.mark.timeout(400)
BIN = Path(sys.executable).parent


class Cluster:
    """A Ray head without the variables of ray.env, whose nodes have `environment`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.http_port = free_port()
        dashboard_port = free_port()
        self.dashboard = f"http://127.0.0.1:{dashboard_port}"
        self._ray_folder = tempfile.mkdtemp(prefix="ray-")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("LTX2_", "RAY_"))}
        self._shell = {**plain, "RAY_AUTH_MODE": "disabled", "PATH": f"{BIN}:{os.environ['PATH']}"}
        command = ["ray", "start", "--head", "--block", "--num-cpus=1", "--disable-usage-stats"]
        command += [f"--temp-dir={self._ray_folder}", f"--dashboard-port={dashboard_port}"]
        command += [f"--port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        command += [f"--ray-client-server-port={free_port()}", "--min-worker-port=0", "--max-worker-port=0"]
        with (folder / "ray.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env={**self._shell, **environment}, stdout=log, stderr=log, start_new_session=True
            )

    def deploy(self) -> None:
        config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        config["http_options"].update(host="127.0.0.1", port=self.http_port)
        config["applications"][0]["args"]["limits"] = {"max_inference_steps": 9}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = ["serve", "deploy", "config.yaml", "--address", self.dashboard]
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(command, cwd=self.folder, env=self._shell, check=False, capture_output=True).returncode:
            assert time.monotonic() < deadline, (self.folder / "ray.log").read_text()[-3000:]
            time.sleep(1)

    def status(self) -> str:
        command = ["serve", "status", "--address", self.dashboard]
        answer = subprocess.run(command, env=self._shell, check=False, capture_output=True, text=True)
        return answer.stdout

    def close(self) -> None:
        processes = [self._process]
        with suppress(psutil.NoSuchProcess):
            processes += psutil.Process(self._process.pid).children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(30)
        shutil.rmtree(self._ray_folder, ignore_errors=True)


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    running = Cluster(tmp_path, request.param)
    try:
        yield running
    finally:
        running.close()


@pytest.mark.parametrize("cluster", [{"LTX2_LIMITS__MAX_INFERENCE_STEPS": "5"}], indirect=True)
def test_one_cpu_is_enough_and_the_environment_of_the_nodes_wins(cluster: Cluster) -> None:
    cluster.deploy()
    with httpx.Client(base_url=f"http://127.0.0.1:{cluster.http_port}", timeout=120) as client:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(httpx.HTTPError):
                if (health := client.get("/health", timeout=5)).status_code == 200:
                    break
            assert time.monotonic() < deadline, cluster.status()
            time.sleep(0.5)
        assert any("RAY_SERVE_ENABLE_HA_PROXY" in notice for notice in health.json()["notices"])
        refused = client.post("/v1/video/async_t2v", json={**QUICK, "num_inference_steps": 6})
        assert refused.json()["allowed"] == "a whole number from 2 to 5"
        assert client.post("/v1/video/t2v", json=QUICK).json()["status"] == "completed"


@pytest.mark.parametrize("cluster", [{"LTX2_MODLE": "tiny"}], indirect=True)
def test_a_mistyped_variable_of_the_nodes_fails_the_deployment_with_its_name(cluster: Cluster) -> None:
    cluster.deploy()
    deadline = time.monotonic() + START_TIMEOUT_S
    while "DEPLOY_FAILED" not in (status := cluster.status()):
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert "LTX2_MODLE" in status

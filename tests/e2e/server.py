"""A real server in its own process, started like `make run`, with its own Ray cluster and ports."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 240
TASK_TIMEOUT_S = 240


def ray_environment() -> dict[str, str]:
    lines = (ROOT / "ray.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def is_finished(name: str) -> bool:
    """Whether it is a video or its poster. A preview is neither; a Generator that is killed leaves it."""
    return name.endswith((".mp4", ".jpg")) and not name.endswith(".preview.jpg")


class Server:
    """One server on one folder. It can be stopped in several ways, and started again."""

    def __init__(
        self,
        folder: Path,
        args: Mapping[str, Any],
        environment: Mapping[str, str],
        import_path: str = "deployments.app:build",
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._prefix = prefix
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self.submitted: list[str] = []
        self._ray_folder = tempfile.mkdtemp(prefix="ray-")  # a short path, because sockets are created below it
        config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        config["http_options"].update(host="127.0.0.1", port=self.port)
        config["applications"][0]["args"].update({"model": "tiny", **args})
        config["applications"][0]["import_path"] = import_path
        (folder / "serve_config.yaml").write_text(yaml.safe_dump(config))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LTX2_", "RAY_"))},
            **ray_environment(),
            "RAY_TMPDIR": self._ray_folder,
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (folder / "server.log").open("ab")

    @property
    def ray_folder(self) -> Path:
        """Folder of Ray's session, logs and metrics addresses."""
        return Path(self._ray_folder) / "ray"

    def launch(self) -> None:
        command = [*self._prefix, sys.executable, "-m", "deployments.cli.launcher", "serve_config.yaml"]
        self._process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self) -> None:
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, f"the server ended: {self.log()[-3000:]}"
            with suppress(httpx.HTTPError):
                if self.client.get("/health").status_code == 200:
                    return
            time.sleep(0.3)
        raise AssertionError(f"the server did not come up: {self.log()[-3000:]}")

    def wait_for_exit(self, timeout_s: float = 60) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def processes(self) -> list[psutil.Process]:
        """All processes of the server, HAProxy included."""
        if self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def processes_like(self, mark: str) -> list[psutil.Process]:
        return [each for each in self.processes() if mark in _command(each)]

    def replicas(self, deployment: str) -> list[psutil.Process]:
        return self.processes_like(f"ServeReplica:ltx2:{deployment}")

    def files(self) -> set[str]:
        """The names of the finished files."""
        folder = self.folder / "data/outputs/outputs"
        return {each.name for each in folder.iterdir() if is_finished(each.name)} if folder.is_dir() else set()

    def gcs_address(self) -> str:
        """The address for joining its Ray cluster."""
        command = _command(self.processes_like("raylet/raylet")[0])
        return command.split("--gcs-address=")[1].split()[0]

    def interrupt(self) -> None:
        """Stop it like Ctrl-C."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def kill(self, *, spare_haproxy: bool = False) -> None:
        """Kill all processes at once, like the loss of a machine."""
        doomed = [each for each in self.processes() if not (spare_haproxy and "haproxy -db" in _command(each))]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed, timeout=30)
        if self._process is not None:
            self._process.wait(30)

    def close(self) -> None:
        self.kill()
        self.client.close()
        self._log.close()
        shutil.rmtree(self._ray_folder, ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def ray_logs(self) -> list[Path]:
        """All log files of Ray and Serve."""
        return [path for path in Path(self._ray_folder).glob("ray/session_*/logs/**/*") if path.is_file()]

    def submit(self, **fields: Any) -> str:
        answer = self.client.post("/v1/video/async_t2v", json={**QUICK, **fields})
        assert answer.status_code == 200, answer.text
        self.submitted.append(str(answer.json()["task_id"]))
        return self.submitted[-1]

    def poll(self, task_id: str) -> dict[str, Any]:
        """Poll once. If the server is unavailable, try again, as clients do."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                answer = self.client.get(f"/v1/video/tasks/{task_id}")
                assert answer.status_code == 200, answer.text
                return dict(answer.json())
            except (httpx.HTTPError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def wait(self, task_id: str, timeout_s: float = TASK_TIMEOUT_S) -> dict[str, Any]:
        """Poll until the task has ended."""
        return self.wait_until(task_id, lambda body: body["status"] != "processing", timeout_s)

    def wait_until(self, task_id: str, condition: Any, timeout_s: float = TASK_TIMEOUT_S) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while not condition(body := self.poll(task_id)):
            assert time.monotonic() < deadline, f"still {body}; {self.log()[-3000:]}"
            time.sleep(0.1)
        return body


QUICK = {
    "prompt": "A lighthouse in the fog, waves against the rocks.",
    "height": 128,
    "width": 192,
    "num_frames": 17,
    "num_inference_steps": 3,
}


@contextmanager
def running_server(
    folder: Path, args: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    server = Server(folder, args or {}, environment or {})
    try:
        server.start()
        yield server
    finally:
        server.close()


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""

"""Servers to compare with: the same app on bare uvicorn, and nginx on the same files."""

import multiprocessing
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from models.names import TINY_MODEL_NAME
from tests.e2e.server import START_TIMEOUT_S
from tests.ports import free_port

SPAWN = multiprocessing.get_context("spawn")
NO_BOUND = {"max_queued": 1_000_000}
"""Submitted tasks are never rendered, so all of them stay queued."""
IDLE = {"model": "tiny", "device": "cpu", "generator": {"num_cpus": 100_000}, "ingress": NO_BOUND}
"""Settings of a server whose Generator requests more CPUs than the machine has, so that it never starts."""
NGINX = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; types {{ video/mp4 mp4; }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def serve_bare(folder: Path, port: int) -> None:
    """Serve only the handlers. Runs in its own process."""
    import uvicorn

    from deployments.ingress.app import create_app
    from deployments.ingress.context import AppContext
    from deployments.settings import Settings
    from storage.outputs.open_store import open_output_store
    from storage.task_store import SqlTaskStore

    async def nudge() -> None:
        """Do nothing: there is no Dispatcher."""

    settings = Settings.model_validate({"ingress": NO_BOUND})
    store = SqlTaskStore.open(f"sqlite:///{folder}/ltx2.db")
    app = create_app(AppContext(settings, TINY_MODEL_NAME, store, open_output_store(f"file:{folder}"), nudge))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


@contextmanager
def running_bare(folder: Path) -> Iterator[int]:
    """Run bare uvicorn on the database `ltx2.db` and the files in `folder`. Yields its port."""
    port = free_port()
    process = SPAWN.Process(target=serve_bare, args=(folder, port), daemon=True)
    process.start()
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield port
    finally:
        process.terminate()
        process.join()


@contextmanager
def running_nginx(root: Path, folder: Path) -> Iterator[int]:
    """Run nginx on the files under `root`, with its own files in `folder`. Yields its port."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, root=root))
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder), "-e", f"{folder}/nginx.log"])
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            httpx.get(url)
            return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer in {START_TIMEOUT_S} s")

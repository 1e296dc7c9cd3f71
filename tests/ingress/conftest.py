"""The HTTP app as the Ingress builds it, with real stores and without Ray."""

import contextlib
import io
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.settings import Settings
from storage.db.engine import open_engine
from storage.outputs.local import LocalOutputStore
from storage.outputs.store import OutputStore
from storage.task_store import SqlTaskStore
from storage.tasks import Output, Task
from tests.sqlite import new_sqlite

MODEL = "Lightricks/LTX-2"
PROMPT = "A cinematic wide shot of a sunset over the ocean..."
VIDEO = bytes(range(256)) * 40
POSTER = b"\xff\xd8poster"


@dataclass(frozen=True)
class Box:
    """One server: a client for its app, and the two stores that the app uses."""

    client: TestClient | httpx.Client
    tasks: SqlTaskStore
    outputs: OutputStore
    folder: Path
    nudges: list[None]

    def submit(self, **fields: Any) -> str:
        answer = self.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def poll(self, task_id: str, **options: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/video/tasks/{task_id}", **options)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def claim(self, model: str = MODEL) -> Task:
        """Claim the next task, as a Dispatcher does."""
        (task,) = self.tasks.claim("alice", model, 1, 60)
        return task

    def start(self) -> Task:
        task = self.claim()
        assert self.tasks.start_run(task)
        return task

    def complete(self, task: Task, video: bytes = VIDEO) -> None:
        """Complete the task with its files, as an Encoder does."""
        output = Output(f"outputs/ltx2_{task.id}.mp4", f"outputs/ltx2_{task.id}.jpg", 4.84, len(video))
        self.outputs.put(output.key, video)
        self.outputs.put(output.poster_key, POSTER)
        assert self.tasks.complete(task, output)

    def finished(self, video: bytes = VIDEO) -> str:
        """The id of a task that is already completed."""
        task_id = self.submit()
        self.complete(self.start(), video)
        return task_id

    def row(self, task_id: str) -> Task:
        task = self.tasks.get(task_id)
        assert task is not None
        return task


@pytest.fixture
def open_box(tmp_path) -> Iterator[Callable[..., Box]]:
    """A function that opens servers with the given settings."""
    with contextlib.ExitStack() as stack:

        def open_it(**values: Any) -> Box:
            app, parts = build_app(tmp_path, stack, **values)
            client = TestClient(app, base_url="http://192.168.1.26:8004", raise_server_exceptions=False)
            stack.enter_context(client)  # one event loop for all requests, as in a replica
            return Box(client, *parts)

        yield open_it


@pytest.fixture
def served_box(tmp_path) -> Iterator[Callable[..., Box]]:
    """Like `open_box`, but on a real port, for tests that need an open connection or a browser."""
    with contextlib.ExitStack() as stack:

        def open_it(**values: Any) -> Box:
            app, parts = build_app(tmp_path, stack, **values)
            base_url = stack.enter_context(serve(app))
            return Box(stack.enter_context(httpx.Client(base_url=base_url, timeout=60)), *parts)

        yield open_it


def build_app(
    tmp_path: Path,
    stack: contextlib.ExitStack,
    model: str = MODEL,
    *,
    notices: tuple[str, ...] = (),
    store: OutputStore | None = None,
    metrics: MetricsRecorder = NOOP_METRICS,
    **values: Any,
) -> tuple[FastAPI, tuple[SqlTaskStore, OutputStore, Path, list[None]]]:
    """The app with new stores, and these stores."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    engine = open_engine(new_sqlite(folder / "tasks.db"))
    settings = Settings(**values)
    tasks = SqlTaskStore(engine, quotas=settings.quotas)
    outputs, nudges = store or LocalOutputStore(folder / "store"), []
    stack.callback(tasks.close)

    async def nudge() -> None:
        nudges.append(None)

    app = create_app(AppContext(settings, model, tasks, outputs, nudge, notices, metrics))
    return app, (tasks, outputs, folder, nudges)


@contextlib.contextmanager
def completing(box: Box) -> Iterator[Box]:
    """Run a worker beside the server that completes every task at once."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(0.02):
            for task in box.tasks.claim("alice", MODEL, 100, 60):
                if box.tasks.start_run(task):
                    box.complete(box.row(task.id))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield box
    finally:
        stopped.set()
        worker.join()


@contextlib.contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve the app with uvicorn on a free port of 127.0.0.1. Yields its base url."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # listens already, so early connections wait
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def box(open_box) -> Box:
    """A server with the default settings."""
    return open_box()


def image_file(width: int = 96, height: int = 64, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 120, 20)).save(buffer, image_format, **options)
    return buffer.getvalue()

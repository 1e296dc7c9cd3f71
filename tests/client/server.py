"""A real server on its own port: uvicorn, the app, SQLite and a worker. It can be stopped, and break connections."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response

from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.settings import Settings
from models.progress import Progress, Stage
from storage.db.engine import open_engine
from storage.outputs.local import LocalOutputStore
from storage.task_store import SqlTaskStore
from storage.tasks import Failure, Output, State, Task
from tests.ingress.conftest import image_file
from tests.ports import free_port
from tests.sqlite import new_sqlite

MODEL = "Lightricks/LTX-2"
VIDEO = bytes(range(256)) * 4000
POSTER = image_file(640, 320, "JPEG")
PACE_S = 0.02


class BreakingOff:
    """Wraps the app in a connection that can be cut: some responses are lost, some bodies end early."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.lose_answers = 0
        """The number of POST responses to lose after the server has acted."""
        self.cut_bodies = 0
        """The number of downloads to end after a third of the body."""
        self.ranges: list[str] = []
        """The Range header of each download; empty for none."""
        self.polls = 0
        self.without_routes = 0
        """The number of requests that get the answer of a proxy without routes."""
        self.refuses: set[str] = set()
        """Methods to reject, like a server of another version."""
        self.before_download: Callable[[int], None] = lambda number: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        left = len(VIDEO) // 3
        headers = dict(scope.get("headers", ()))
        download = scope["path"].startswith("/outputs/")
        cut = download and self.cut_bodies > 0
        lose = scope["method"] == "POST" and self.lose_answers > 0
        self.polls += scope["method"] == "GET" and scope["path"].startswith("/v1/video/tasks/")
        if self.without_routes:
            self.without_routes -= 1
            await Response("Path '/' not found.", 404)(scope, receive, send)
            return
        if scope["method"] in self.refuses:
            await Response(status_code=405)(scope, receive, send)
            return
        if download:
            self.ranges.append(headers.get(b"range", b"").decode())
            self.before_download(len(self.ranges))

        async def forward(message: Any) -> None:
            nonlocal left
            if lose and message["type"] == "http.response.start":
                self.lose_answers -= 1
                raise ConnectionAbortedError
            if cut and message["type"] == "http.response.body":
                await send({**message, "body": message["body"][:left], "more_body": True})
                left -= len(message["body"])
                if left <= 0:
                    self.cut_bodies -= 1
                    raise ConnectionAbortedError
                return
            await send(message)

        await self._app(scope, receive, forward)


class Server:
    """The server that `serve` runs, and its worker."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._engine = open_engine(new_sqlite(folder / "tasks.db"))
        self.tasks, self.outputs = SqlTaskStore(self._engine), LocalOutputStore(folder / "store")
        self.line = BreakingOff(create_app(AppContext(settings, MODEL, self.tasks, self.outputs, _no_nudge)))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.failure: Failure | None = None
        self.seen: list[str] = []
        """The tasks that the worker claimed, in order."""
        self._closing = threading.Event()
        self._worker = threading.Thread(target=self._work)
        self._worker.start()
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(self.line, port=self.port, log_level="critical", lifespan="off", ws="none")
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run)
        self._thread.start()
        while not self._uvicorn.started and self._thread.is_alive():
            self._closing.wait(0.01)
        assert self._uvicorn.started

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()

    def close(self) -> None:
        self._closing.set()
        self.may_finish.set()
        self._worker.join()
        if self._thread.is_alive():
            self.stop()
        self.tasks.close()

    def rows(self) -> int:
        return len(self.tasks.page(frozenset(State), 100, None))

    def _work(self) -> None:
        while not self._closing.wait(PACE_S):
            for task in self.tasks.claim("alice", MODEL, 1, 60):
                self.seen.append(task.id)
                self._render(task)

    def _render(self, task: Task) -> None:
        self.tasks.start_run(task)
        for step in range(1, task.request.num_inference_steps + 1):
            if not self.tasks.report_progress(task, Progress(Stage.DENOISING, step)):
                return
            self._closing.wait(PACE_S)
        while not self.may_finish.wait(PACE_S):
            if not self.tasks.report_progress(task, Progress(Stage.DECODING)):
                return
        if self.failure:
            self.tasks.fail(task, self.failure)
            return
        output = Output(f"outputs/ltx2_{task.id}.mp4", f"outputs/ltx2_{task.id}.jpg", 4.84, len(VIDEO))
        self.outputs.put(output.key, VIDEO)
        self.outputs.put(output.poster_key, POSTER)
        self.tasks.complete(task, output)


async def _no_nudge() -> None:
    pass


@contextmanager
def serve(folder: Path, **settings: Any) -> Iterator[Server]:
    server = Server(folder, Settings(**settings))
    try:
        yield server
    finally:
        server.close()

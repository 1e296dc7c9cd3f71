"""The HTTP app as the ingress builds it, on real stores and without Ray."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from deployments.ingress.app import create_app
from deployments.ingress.rooms import Rooms
from deployments.settings import Settings
from storage.database import migrate, open_engine
from storage.local import LocalOutputStore
from storage.task_store import SqlTaskStore
from storage.tasks import Output, Task

MODEL = "Lightricks/LTX-2"
PROMPT = "A cinematic wide shot of a sunset over the ocean..."
VIDEO = bytes(range(256)) * 40
POSTER = b"\xff\xd8poster"


@dataclass(frozen=True)
class Box:
    """One server: its app behind a client, and the two stores that it works on."""

    client: TestClient
    tasks: SqlTaskStore
    outputs: LocalOutputStore
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
        """Take the next task, as a dispatcher does."""
        (task,) = self.tasks.claim("alice", model, 1, 60)
        return task

    def start(self) -> Task:
        task = self.claim()
        assert self.tasks.start(task)
        return task

    def complete(self, task: Task, video: bytes = VIDEO) -> None:
        """End the task with its files, as an encoder does."""
        output = Output(f"outputs/ltx2_{task.id}.mp4", f"outputs/ltx2_{task.id}.jpg", 4.84, len(video))
        self.outputs.put(output.key, video)
        self.outputs.put(output.poster_key, POSTER)
        assert self.tasks.complete(task, output)

    def finished(self, video: bytes = VIDEO) -> str:
        """A task that is completed already."""
        task_id = self.submit()
        self.complete(self.start(), video)
        return task_id

    def row(self, task_id: str) -> Task:
        task = self.tasks.get(task_id)
        assert task is not None
        return task


@pytest.fixture
def open_box(tmp_path) -> Iterator[Callable[..., Box]]:
    """Opens servers with the settings that a test wants."""
    opened: list[Box] = []

    def open_it(model: str = MODEL, notices: tuple[str, ...] = (), **values: Any) -> Box:
        folder = tmp_path / f"box{len(opened)}"
        engine = open_engine(f"sqlite:///{folder / 'tasks.db'}")
        migrate(engine)
        tasks, outputs, nudges = SqlTaskStore(engine), LocalOutputStore(folder / "store"), []

        async def nudge() -> None:
            nudges.append(None)

        app = create_app(Rooms(Settings(**values), model, tasks, outputs, nudge, notices))
        client = TestClient(app, base_url="http://192.168.1.26:8004", raise_server_exceptions=False)
        client.__enter__()  # all requests on one event loop, as in a replica
        opened.append(Box(client, tasks, outputs, folder, nudges))
        return opened[-1]

    yield open_it
    for box in opened:
        box.client.__exit__(None, None, None)
        box.tasks.close()


@pytest.fixture
def box(open_box) -> Box:
    """A server with the default settings."""
    return open_box()


def picture_file(width: int = 96, height: int = 64, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 120, 20)).save(buffer, image_format, **options)
    return buffer.getvalue()

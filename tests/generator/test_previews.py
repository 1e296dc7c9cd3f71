"""The previews of a run: stored beside it, named in the row, and gone with it. No error of theirs reaches the task."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from deployments.generator.deployment import Generator
from deployments.generator.previews import PreviewPublisher
from deployments.observability.metrics.definitions import (
    PREVIEW_DURATION_SECONDS,
    PREVIEW_FAILED,
    PREVIEW_STORED,
    PREVIEWS,
)
from deployments.settings import Settings
from models.errors import StoreUnavailable
from models.ltx2 import preview as ltx2_preview
from models.preview import Preview
from storage.db.engine import migrate, open_engine
from storage.outputs.local import LocalOutputStore
from storage.outputs.store import preview_key
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, Task
from tests.metrics.recorded import RecordedMetrics
from tests.models.conftest import small

MODEL = "tiny"
PATIENCE_S = 60.0


def black(step: int = 4) -> Preview:
    return Preview(np.zeros((144, 256, 3), np.uint8), step, 0.02)


class WatchedStore(LocalOutputStore):
    """Tells what was done with previews. `fails` makes writes fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fails = False
        self.tried = threading.Semaphore(0)
        self.deleted = threading.Event()
        self.contents: list[bytes] = []

    def put(self, key: str, source: Path | bytes) -> None:
        try:
            if self.fails:
                raise StoreUnavailable("the bucket is away")
            super().put(key, source)
            self.contents.append(bytes(source))
        finally:
            self.tried.release()

    def delete(self, key: str) -> None:
        super().delete(key)
        self.deleted.set()


@pytest.fixture
def outputs(tmp_path: Path) -> WatchedStore:
    return WatchedStore(tmp_path / "outputs")


@pytest.fixture
def store(engine: Engine) -> SqlTaskStore:
    return SqlTaskStore(engine)


@pytest.fixture
def task(store: SqlTaskStore) -> Task:
    return started(store)


def started(store: SqlTaskStore, **fields: Any) -> Task:
    store.submit(NewTask(small(**fields), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    assert store.start_run(task)
    return task


@pytest.fixture
def metrics() -> RecordedMetrics:
    return RecordedMetrics()


@pytest.fixture
def publisher(
    store: SqlTaskStore, outputs: WatchedStore, task: Task, metrics: RecordedMetrics
) -> Iterator[PreviewPublisher]:
    publisher = PreviewPublisher(store, outputs, task, metrics)
    yield publisher
    publisher.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a thread that tells nobody."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


def test_a_preview_is_stored_as_a_small_jpeg_and_gone_when_the_run_ends(
    publisher: PreviewPublisher, store: SqlTaskStore, outputs: WatchedStore, task: Task, metrics: RecordedMetrics
) -> None:
    publisher.show(black(4))
    wait_until(lambda: store.get(task.id).preview_step == 4)
    content = b"".join(outputs.open(preview_key(task.id)))
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.size) == ("JPEG", (256, 144))
    publisher.close()
    assert outputs.deleted.wait(PATIENCE_S)
    assert outputs.stat(preview_key(task.id)) is None
    assert metrics.value(PREVIEWS, outcome=PREVIEW_STORED) == 1
    assert metrics.seen(PREVIEW_DURATION_SECONDS) == [0.02]


def test_a_store_that_is_away_loses_a_preview_and_not_the_next(
    publisher: PreviewPublisher, store: SqlTaskStore, outputs: WatchedStore, task: Task, metrics: RecordedMetrics
) -> None:
    outputs.fails = True
    publisher.show(black(4))
    assert outputs.tried.acquire(timeout=PATIENCE_S)
    outputs.fails = False
    assert store.get(task.id).preview_step is None
    publisher.show(black(12))
    wait_until(lambda: store.get(task.id).preview_step == 12)
    wait_until(lambda: metrics.value(PREVIEWS, outcome=PREVIEW_FAILED) == 1)


def test_a_lost_task_names_no_preview(
    publisher: PreviewPublisher, store: SqlTaskStore, outputs: WatchedStore, task: Task
) -> None:
    store.cancel(task.id)
    publisher.show(black())
    assert outputs.tried.acquire(timeout=PATIENCE_S)
    publisher.close()
    assert outputs.deleted.wait(PATIENCE_S)
    assert outputs.stat(preview_key(task.id)) is None
    assert store.get(task.id).preview_step is None


def settings_of(tmp_path: Path, **generator: Any) -> Settings:
    return Settings(
        database_url=f"sqlite:///{tmp_path / 'run.db'}",
        outputs={"url": f"file:{tmp_path / 'outputs'}"},
        cache_dir=tmp_path / "cache",
        generator={"preview_max_fraction": 1.0, **generator},
    )


def render(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, list[Preview], RecordedMetrics]:
    """Render a task on a Generator. Returns its frames, and the previews that were shown meanwhile."""
    engine, metrics, shown = open_engine(settings.database_url), RecordedMetrics(), []
    migrate(engine)
    store = SqlTaskStore(engine)
    monkeypatch.setattr(PreviewPublisher, "show", lambda _publisher, preview: shown.append(preview))
    store.submit(NewTask(small(num_inference_steps=4), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    clip = Generator(settings, "tiny", MODEL, "cpu", metrics=metrics).render(task)
    store.close()
    return clip.frames, shown, metrics


def test_the_setting_turns_previews_off_and_the_frames_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, shown, _ = render(settings_of(tmp_path), monkeypatch)
    off, none_shown, _ = render(settings_of(tmp_path, preview="off"), monkeypatch)
    assert [each.step for each in shown] == [1, 2, 3]
    assert none_shown == []
    assert np.array_equal(on, off)


def test_a_preview_that_cannot_be_made_leaves_the_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_given: Any) -> None:
        raise ValueError("no such layer")

    monkeypatch.setattr(ltx2_preview, "_decode", fail)
    frames, shown, metrics = render(settings_of(tmp_path), monkeypatch)
    assert (len(frames), shown) == (9, [])
    assert metrics.value(PREVIEWS, outcome=PREVIEW_FAILED) == 1, "it is tried once"
    assert "no further previews: no such layer" in caplog.text

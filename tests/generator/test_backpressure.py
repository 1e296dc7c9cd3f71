"""Clips that wait for an Encoder block the Generator, until they are files or another worker owns their task."""

import pytest
from sqlalchemy import Engine

from deployments.generator.backpressure import PendingClips
from models.errors import StoreUnavailable
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, Output, Task

OUTPUT = Output("outputs/ltx2_x.mp4", "outputs/ltx2_x.jpg", 1.0, 3)


@pytest.fixture
def store(engine: Engine) -> SqlTaskStore:
    return SqlTaskStore(engine)


def rendered(store: SqlTaskStore, clips: PendingClips, size_bytes: int) -> Task:
    store.submit(NewTask(VideoRequest(prompt="x"), "model", "http://box"))
    (task,) = store.claim("alice", "model", 1, 60)
    store.start_run(task)
    store.report_progress(task, Progress(Stage.ENCODING))
    clips.add(task, size_bytes)
    return task


def test_the_generator_waits_at_the_bound_and_goes_on_when_a_clip_is_a_file(store):
    clips = PendingClips(store, 1000)
    first = rendered(store, clips, 600)
    assert not clips.is_full()
    rendered(store, clips, 600)
    assert clips.is_full()
    store.complete(first, OUTPUT)
    assert not clips.is_full()


@pytest.mark.parametrize(
    "end",
    [
        lambda store, task: store.cancel(task.id),
        lambda store, task: store.requeue(task, attempt_lost=False),
        lambda store, task: (store.requeue(task, attempt_lost=False), store.claim("bob", "model", 1, 60)),
    ],
)
def test_a_clip_that_nobody_will_encode_holds_nothing_back(store, end):
    clips = PendingClips(store, 1000)
    task = rendered(store, clips, 1000)
    assert clips.is_full()
    end(store, task)
    assert not clips.is_full()


def test_what_was_known_last_counts_while_the_store_is_away(store, monkeypatch):
    clips = PendingClips(store, 1000)
    rendered(store, clips, 1000)

    def away(_ids):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "get_many", away)
    assert clips.is_full()

"""A task is completed with its file, or not at all: the Encoder on S3 servers that do not behave like AWS."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import storage.outputs.s3
from deployments.dispatcher.outcomes import complete_if_published
from deployments.encoder.deployment import Encoder
from deployments.settings import OutputSettings, Settings
from models.clip import Clip
from models.errors import StoreUnavailable
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.outputs.open_store import open_output_store
from storage.outputs.s3_options import S3Options
from storage.outputs.store import output_key, poster_key, staging_key
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, State, Task
from tests.s3 import REGION, front_of, give_credentials, new_bucket, s3_server
from tests.s3_habits import HOPELESS, PUBLISHING
from tests.sqlite import new_sqlite

MODEL = "m"
CLIP = Clip(np.zeros((9, 64, 64, 3), np.uint8), np.zeros((2, 24_000), np.float32), 24_000, Fraction(25))


@pytest.fixture
def front(monkeypatch):
    give_credentials(monkeypatch)
    monkeypatch.setattr(storage.outputs.s3, "LOOK_DELAYS_S", (0.0, 0.05))
    with s3_server() as endpoint, front_of(endpoint) as front:
        yield front


@pytest.fixture
def settings(front, tmp_path: Path) -> Settings:
    options = S3Options(endpoint_url=front.url, region=REGION, max_attempts=1)
    url = new_sqlite(tmp_path / "tasks.db")
    return Settings(database_url=url, outputs=OutputSettings(url=f"s3://{new_bucket(front.url)}", s3=options))


@pytest.fixture
def tasks(settings: Settings):
    store = SqlTaskStore.open(settings.database_url)
    yield store
    store.close()


def begun(tasks: SqlTaskStore) -> Task:
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    (task,) = tasks.claim("alice", MODEL, 1, 60)
    assert tasks.start_run(task)
    assert tasks.report_progress(task, Progress(Stage.ENCODING))
    return task


def test_a_server_that_judges_the_condition_by_the_source_keeps_every_video(front, settings, tasks):
    front.fault = PUBLISHING["412 for the source"]()
    task = begun(tasks)
    Encoder(settings).encode(CLIP, task)
    row, outputs = tasks.get(task.id), open_output_store(settings.outputs.url, settings.outputs.s3)
    assert row.state == State.COMPLETED
    for key in (row.output.key, row.output.poster_key):
        assert b"".join(outputs.open(key)) != b""
    assert outputs.stat(row.output.key).size_bytes == row.output.size_bytes


@pytest.mark.parametrize("habit", HOPELESS)
def test_a_task_whose_file_never_comes_to_stand_is_not_completed(front, settings, tasks, habit):
    front.fault = HOPELESS[habit]()
    task = begun(tasks)
    with pytest.raises(StoreUnavailable):
        Encoder(settings).encode(CLIP, task)
    assert tasks.get(task.id).state == State.PROCESSING


@pytest.mark.parametrize(("left", "completed"), [(b"", True), (b"the whole video", False), (b"half", True)])
def test_a_video_that_nobody_has_seen_whole_is_rendered_again(tmp_path, tasks, left, completed):
    """An Encoder that died between copy and check leaves its staged file. Its other size shows that."""
    task = begun(tasks)
    assert tasks.requeue(task, attempt_lost=True)
    (task,) = tasks.claim("bob", MODEL, 1, 60)
    outputs = open_output_store(f"file:{tmp_path / 'outputs'}")
    outputs.put(poster_key(task.id), b"poster")
    outputs.put(output_key(task.id), b"half")
    if left:
        outputs.put(staging_key(output_key(task.id), 1), left)
    assert complete_if_published(task, tasks, outputs) == completed
    assert tasks.get(task.id).state == (State.COMPLETED if completed else State.QUEUED)

"""A task whose model must be downloaded first: the row, /health's row and the log show the progress."""

import logging
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.generator.deployment import Generator
from deployments.generator.progress import DownloadLog
from deployments.settings import Settings
from models.errors import ModelDiskFull
from models.progress import Progress, Stage
from storage.task_store import SqlTaskStore
from storage.tasks import GeneratorReplica, NewTask, ReplicaState
from tests.fake_hub import REPOSITORY, FakeHub
from tests.models.conftest import cache_dir, hub, small, tiny_folder, user_cache

__all__ = ["cache_dir", "hub", "tiny_folder", "user_cache"]


@pytest.fixture
def store(engine: Engine) -> SqlTaskStore:
    return SqlTaskStore(engine)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{tmp_path / 'tasks.db'}", cache_dir=tmp_path / "cache")


class Seen:
    """Reads both rows whenever a log record is written."""

    def __init__(self, store: SqlTaskStore) -> None:
        self.store = store
        self.replicas: list[GeneratorReplica] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("downloading the model"):
            self.replicas += self.store.live_replicas()
        return True


def test_a_download_shows_to_its_end(
    hub: FakeHub, settings: Settings, store: SqlTaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    generator = Generator(settings, REPOSITORY, REPOSITORY, "cpu")
    store.submit(NewTask(small(), REPOSITORY, "http://box"))
    (task,) = store.claim("alice", REPOSITORY, 1, 60)
    seen = Seen(store)
    logging.getLogger("ray.serve").addFilter(seen)
    clip = generator.render(task)
    logging.getLogger("ray.serve").removeFilter(seen)
    assert clip.frames.shape[0] == 9
    assert [line for line in caplog.messages if line.startswith("downloading")][-1] == (
        "downloading the model: 0.0 of 0.0 GB (100 %)"
    )
    assert ReplicaState.DOWNLOADING in [replica.state for replica in seen.replicas]


def test_a_download_that_fails_is_said_where_health_reads_it(
    hub: FakeHub, settings: Settings, store: SqlTaskStore
) -> None:
    hub.misbehaviour.claimed["vae/diffusion_pytorch_model.safetensors"] = 10**18
    generator = Generator(settings, REPOSITORY, REPOSITORY, "cpu")
    store.submit(NewTask(small(), REPOSITORY, "http://box"))
    (task,) = store.claim("alice", REPOSITORY, 1, 60)
    with pytest.raises(ModelDiskFull) as raised:
        generator.render(task)
    (replica,) = store.live_replicas()
    assert (replica.state, replica.message) == (ReplicaState.FAILED, raised.value.message)


def test_the_log_gets_a_line_for_each_twentieth(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    log = DownloadLog()
    for done in (0, 10**9, 2 * 10**9, 50 * 10**9, 50 * 10**9, 100 * 10**9):
        log(Progress(Stage.DOWNLOADING, bytes_done=done, bytes_total=100 * 10**9))
    log(Progress(Stage.DOWNLOADING))
    log(Progress(Stage.LOADING))
    assert caplog.messages == [
        f"downloading the model: {done} of 100.0 GB ({percent} %)"
        for done, percent in (("0.0", 0), ("50.0", 50), ("100.0", 100))
    ]

"""The output store fails with 20 tasks in flight: a bucket that is away for some time, a disk that is full."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checks import assert_nothing_lost
from tests.e2e.server import Server, is_finished, running_server
from tests.ports import free_port
from tests.s3 import CREDENTIALS, REGION, Front, Handler, client_of, front_of, new_bucket, s3_server

pytestmark = pytest.mark.timeout(600)
IN_FLIGHT = 20
AWAY_S = 8
"""Longer than all waits of one Encoder attempt: see S3."""
S3 = {"region": REGION, "connect_timeout_s": 1, "read_timeout_s": 1, "max_attempts": 2}
DISK_BYTES = 2_000_000


class Bucket:
    """A bucket behind a proxy that can be removed and come back at the same address."""

    def __init__(self, endpoint: str) -> None:
        self.name = new_bucket(endpoint)
        self.port = free_port()
        self._endpoint = endpoint
        self._stack = ExitStack()
        self.front: Front
        self.come()

    def come(self) -> None:
        self.front = self._stack.enter_context(front_of(self._endpoint, self.port))

    def go(self) -> None:
        self._stack.close()

    def names(self, prefix: str) -> set[str]:
        """The keys that begin with `prefix`, without it."""
        client = client_of(self._endpoint)
        found = client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        client.close()
        return {each["Key"].removeprefix(prefix) for each in found}

    def files(self) -> set[str]:
        return {name for name in self.names("outputs/") if is_finished(name)}


@contextmanager
def own_bucket() -> Iterator[Bucket]:
    """A bucket of an S3 server of its own, with the credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as endpoint:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        bucket = Bucket(endpoint)
        yield bucket
        bucket.go()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with own_bucket() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def server(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    s3 = {**S3, "endpoint_url": f"http://127.0.0.1:{bucket.port}"}
    args = {"outputs": {"url": f"s3://{bucket.name}", "s3": s3}}
    with running_server(tmp_path_factory.mktemp("bucket"), args, CREDENTIALS) as running:
        running.wait(running.submit())
        yield running


@contextmanager
def misbehaving(bucket: Bucket, fault: Callable[[Handler], bool]) -> Iterator[None]:
    bucket.front.fault = fault
    yield
    bucket.front.fault = lambda _request: False


@contextmanager
def refusing(bucket: Bucket) -> Iterator[None]:
    bucket.go()
    yield
    bucket.come()


FAULTS: dict[str, Callable[[Bucket], AbstractContextManager[None]]] = {
    "answers 503": lambda bucket: misbehaving(bucket, lambda request: request.refuse(503, "SlowDown")),
    "hangs": lambda bucket: misbehaving(bucket, Handler.say_nothing),
    "refuses connections": refusing,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bucket_that_is_away_for_a_while_loses_no_task(server: Server, bucket: Bucket, fault: str) -> None:
    ids = [server.submit() for _ in range(IN_FLIGHT)]
    server.wait(ids[0])
    with FAULTS[fault](bucket):
        time.sleep(AWAY_S)
        assert server.client.get("/health").status_code == 503
        assert server.poll(ids[-1])["status"] == "processing", "a poll needs no bucket"
    bodies = assert_nothing_lost(server, ids, files=bucket.files)
    assert {body["status"] for body in bodies} == {"completed"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be made by root that may mount")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Fill the remaining disk space."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_fails_what_it_cannot_hold_with_that_reason_and_takes_tasks_again_once_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    args: dict[str, Any] = {"outputs": {"url": f"file:{small_disk}", "min_free_bytes": 0}}
    with running_server(tmp_path, args) as server:
        ids = [server.submit() for _ in range(IN_FLIGHT)]
        server.wait(ids[0])
        filler = fill(small_disk)
        bodies = assert_nothing_lost(server, ids, {"storage_full"}, lambda: names(small_disk))
        ends = [body["status"] for body in bodies]
        assert ends[0] == "completed"
        assert ends[-1] == "failed"
        assert "no space left" in bodies[-1]["error"]
        assert not list(small_disk.rglob("*.part")), "half a video takes room from whole ones"
        filler.unlink()
        (again,) = assert_nothing_lost(server, [server.submit()], files=lambda: names(small_disk))
        assert again["status"] == "completed"


def names(disk: Path) -> set[str]:
    return {each.name for each in (disk / "outputs").iterdir() if is_finished(each.name)}

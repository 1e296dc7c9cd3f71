"""The process that reads a client's file: what a client reads when it is killed, and when it ends."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deployments.ingress.child_process import PARENT
from deployments.ingress.media.child_process import CHILD, read_audio_in_child
from deployments.ingress.media.jobs import AudioJob
from models.errors import ReaderLost

PATIENCE_S = 60
READ = """
import sys
from pathlib import Path
from deployments.ingress.media.child_process import read_audio_in_child
from deployments.ingress.media.jobs import AudioJob
read_audio_in_child(AudioJob(Path(sys.argv[1]), Path(sys.argv[1]).with_name("written"), 0.0, None, 20.0))
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file whose reader waits forever."""
    os.mkfifo(tmp_path / "audio")
    return tmp_path / "audio"


@contextmanager
def opened_by_reader(endless: Path) -> Iterator[None]:
    """Wait until a reader has opened the file, and keep it waiting."""
    deadline = time.monotonic() + PATIENCE_S
    while (writer := open_writer(endless)) is None:
        assert time.monotonic() < deadline, "nothing reads the file"
        time.sleep(0.01)
    yield
    os.close(writer)


def open_writer(endless: Path) -> int | None:
    """The other end of the file; None while nobody reads it."""
    try:
        return os.open(endless, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def readers(parent: int, module: str = CHILD) -> list[psutil.Process]:
    """The readers that a process has, which run `module`. A child that has just ended has no command line."""
    children = psutil.Process(parent).children()
    return [each for each in children if each.status() != psutil.STATUS_ZOMBIE and module in each.cmdline()]


def test_a_reader_that_is_killed_is_not_blamed_on_the_file(endless: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(read_audio_in_child, AudioJob(endless, endless.with_name("written"), 0.0, None, 20.0))
        with opened_by_reader(endless):
            for reader in readers(os.getpid()):
                reader.kill()
            with pytest.raises(ReaderLost, match="the audio of 0 bytes was killed; send the request again") as raised:
                answer.result(PATIENCE_S)
    assert raised.value.retryable


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_a_reader_ends_with_a_server_that_is_killed(endless: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", READ, str(endless)])
    with opened_by_reader(endless):
        (reader,) = readers(server.pid)
        server.kill()
        server.wait()
        reader.wait(PATIENCE_S)


@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_a_reader_whose_server_has_ended_before_it_started_reads_nothing() -> None:
    job = '{"source": "x", "target": "y", "start_s": 0, "duration_s": null, "most_s": 1}'
    environment = {**os.environ, PARENT: str(os.getpid() + 1)}
    command = [sys.executable, "-m", CHILD, "audio", job]
    ended = subprocess.run(command, env=environment, check=False, timeout=PATIENCE_S, capture_output=True)
    assert (ended.returncode, ended.stderr) == (1, b"")

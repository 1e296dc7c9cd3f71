"""Promise: an image is decoded in a separate process, which may die alone and has no secrets."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from deployments.ingress.images import child_process as images_child
from deployments.ingress.images import decoder_pool
from deployments.ingress.images.decoder_pool import DecoderPool, decode_and_fit
from deployments.ingress.images.decoding import Bounds
from deployments.ingress.images.formats import Format
from models.errors import ImageTooLarge, InvalidRequest, ReaderLost
from models.request.request import RequestLimits, VideoRequest
from tests.ingress.conftest import image_file

REQUEST, LIMITS = VideoRequest(prompt="x", fit="match"), RequestLimits()
UPRIGHT = image_file(64, 128)


@pytest.fixture
def decoders():
    made = DecoderPool()
    yield made
    made.close()


def count_unread(connection: Connection) -> int:
    """Bytes, or more, that were sent and that the other end has not read."""
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_a_process_makes_the_same_of_an_image(decoders):
    here = decode_and_fit(UPRIGHT, REQUEST, LIMITS)
    assert decoders.fit(UPRIGHT, REQUEST, LIMITS) == here
    assert here.request.height > here.request.width


@pytest.mark.parametrize(("data", "error"), [(b"no image", InvalidRequest), (b"\xff" * (20 << 20 | 1), ImageTooLarge)])
def test_its_refusal_is_the_same_too(decoders, data, error):
    with pytest.raises(error) as here:
        decode_and_fit(data, REQUEST, LIMITS)
    with pytest.raises(error) as there:
        decoders.fit(data, REQUEST, LIMITS)
    assert there.value.message == here.value.message
    assert decoders.fit(UPRIGHT, REQUEST, LIMITS), "and it goes on"


def test_one_that_was_killed_while_idle_is_replaced(decoders):
    decoders.fit(UPRIGHT, REQUEST, LIMITS)
    first = decoders._idle[0]._process
    first.kill()
    first.wait()
    assert decoders.fit(UPRIGHT, REQUEST, LIMITS)
    assert decoders._idle[0]._process.pid != first.pid


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux counts what is unread")
@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (signal.SIGKILL, ReaderLost, f"read the image of {len(UPRIGHT)} bytes was killed; send the request again"),
        (signal.SIGSEGV, InvalidRequest, "image must be a whole and undamaged file"),
    ],
)
def test_an_image_is_blamed_for_a_crash_and_not_for_a_kill(decoders, number, error, message):
    decoders.fit(UPRIGHT, REQUEST, LIMITS)
    process, connection = decoders._idle[0]._process, decoders._idle[0]._connection
    process.send_signal(signal.SIGSTOP)  # the image waits in the connection
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(decoders.fit, UPRIGHT, REQUEST, LIMITS)
        while not count_unread(connection):
            time.sleep(0.01)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        with pytest.raises(error, match=message):
            answer.result(30)
    assert decoders.fit(UPRIGHT, REQUEST, LIMITS), "and it goes on"


def test_a_heic_file_is_not_blamed_for_a_decoder_that_was_killed(monkeypatch):
    """The process in the process: pillow-heif's has limits of its own, which end it by other signals."""
    monkeypatch.setattr(images_child, "CHILD", "tests.ingress.killed_child")
    with pytest.raises(ReaderLost, match="image of 3 bytes was killed"):
        images_child.decode_in_child(b"abc", Format.HEIC, Bounds(1, 1, 1))


def test_one_that_takes_too_long_is_ended(decoders, monkeypatch):
    decoders.fit(UPRIGHT, REQUEST, LIMITS)
    process = decoders._idle[0]._process
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(decoder_pool, "MAX_DECODE_S", 0.1)
    with pytest.raises(InvalidRequest, match=r"0\.1 s"):
        decoders.fit(UPRIGHT, REQUEST, LIMITS)
    assert process.poll() == -signal.SIGKILL


def test_it_is_given_no_secret(decoders, monkeypatch):
    monkeypatch.setenv("LTX2_WEBHOOKS__SECRET", "whsec_x")
    decoders.fit(UPRIGHT, REQUEST, LIMITS)
    names = set(psutil.Process(decoders._idle[0]._process.pid).environ())
    assert names <= {*decoder_pool.PASSED_VARIABLES, "PYTHONPATH", "LC_CTYPE"}


def test_it_ends_with_its_ingress_also_where_that_is_killed():
    ingress = subprocess.Popen(
        [sys.executable, "-c", INGRESS], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    assert ingress.stdout is not None
    own = psutil.Process(int(ingress.stdout.readline()))
    ingress.kill()
    ingress.wait()
    ingress.stdout.close()
    deadline = time.monotonic() + 30
    while own.is_running() and own.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


INGRESS = f"""
import time
from pathlib import Path
from deployments.ingress.images.decoder_pool import DECODER_POOL
from models.request.request import RequestLimits, VideoRequest
DECODER_POOL.fit({UPRIGHT!r}, VideoRequest(prompt="x"), RequestLimits())
print(DECODER_POOL._idle[0]._process.pid, flush=True)
time.sleep(60)
"""


def test_a_pipe_that_ends_ends_the_process_quietly():
    ours, theirs = Pipe()
    ours.close()
    decoder_pool.serve(theirs)
    theirs.close()

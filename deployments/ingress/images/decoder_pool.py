"""Decodes images in processes next to the Ingress.

Pillow's WebP decoder holds Python's interpreter lock while it runs: half a second for 64 megapixels (measured). In the
Ingress it would block every poll. A separate process has a lower priority than the API, and a crash of a decoder ends
only this process. The process ends when its Ingress ends.
"""

import atexit
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from deployments.ingress.child_process import reader_lost
from deployments.ingress.images.fitting import encode_input, fit_image
from deployments.ingress.images.reading import read_image
from models.errors import InvalidRequest, VideoError
from models.request.json_words import Described
from models.request.request import RequestLimits, VideoRequest

MAX_DECODE_S = 60.0
MAX_EXIT_S = 5.0
"""How long a process that has closed its connection may take to end."""
CPU_NICENESS = 5
START = "from deployments.ingress.images.decoder_pool import main; main()"
PASSED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""The environment variables that a decoder process gets. None of them is a secret."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class FittedImage:
    """The image file that the task keeps, and the request with the size of the video."""

    content: bytes
    request: VideoRequest


def decode_and_fit(data: bytes, request: VideoRequest, limits: RequestLimits) -> FittedImage:
    """Decode an image and fit it to the video, inside a decoder process. Raises InvalidRequest, ReaderLost."""
    image, fitted = fit_image(read_image(data, limits), request, limits)
    return FittedImage(encode_input(image, fitted), fitted)


class DecoderPool:
    """A pool of processes, one for each image decoded at once, started when needed. Safe for several threads."""

    def __init__(self) -> None:
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()

    def fit(self, data: bytes, request: VideoRequest, limits: RequestLimits) -> FittedImage:
        """Run `decode_and_fit` in a decoder process. Raises InvalidRequest, ReaderLost."""
        decoder = self._take_idle() or _Decoder()
        try:
            answer = decoder.ask((data, request, limits))
        except (EOFError, OSError, TimeoutError) as error:
            was_killed = not isinstance(error, TimeoutError) and decoder.was_killed()
            decoder.close()
            if was_killed:
                raise reader_lost("image", len(data)) from None
            logger.exception("an image of %d bytes ended its decoder", len(data), exc_info=error)
            given = f"a file of {len(data)} bytes that could not be decoded in {MAX_DECODE_S:g} s"
            raise InvalidRequest("image", Described(given), "a whole and undamaged file") from None
        except BaseException:
            decoder.close()
            raise
        with self._lock:
            self._idle.append(decoder)
        if isinstance(answer, VideoError):
            raise answer
        return answer

    def _take_idle(self) -> "_Decoder | None":
        """An idle process that still runs."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_running:
                    return decoder
                decoder.close()
        return None

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()


class _Decoder:
    """One decoder process and the connection to it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-c", START, str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603
                command, pass_fds=[theirs.fileno()], env=_environment(os.environ), stdin=subprocess.DEVNULL
            )

    def ask(self, question: tuple[bytes, VideoRequest, RequestLimits]) -> FittedImage | VideoError:
        """Let the process fit an image. Raises EOFError or OSError, and TimeoutError if it takes too long."""
        self._connection.send(question)
        if not self._connection.poll(MAX_DECODE_S):
            raise TimeoutError
        answer: FittedImage | VideoError = self._connection.recv()
        return answer

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def was_killed(self) -> bool:
        """Whether the process, which has closed its connection, ended by SIGKILL. A crash has another signal."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(MAX_EXIT_S) == -signal.SIGKILL
        return False

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    known = {name: environment[name] for name in PASSED_VARIABLES if name in environment}
    return {**known, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


def serve(connection: Connection) -> None:
    """Answer requests until the other end of the connection closes."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            data, request, limits = connection.recv()
            try:
                answer: FittedImage | VideoError = decode_and_fit(data, request, limits)
            except VideoError as error:
                answer = error
            connection.send(answer)


def main() -> None:
    """Run a decoder process. Its only argument is the file descriptor of the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; this process ends with the Ingress
    os.nice(CPU_NICENESS)
    serve(Connection(int(sys.argv[1])))


DECODER_POOL = DecoderPool()
"""The only pool of this process. It decodes the images of all its apps."""
atexit.register(DECODER_POOL.close)

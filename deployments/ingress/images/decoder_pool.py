"""Decodes images in processes beside the Ingress.

Pillow's decoder of WebP holds the interpreter for as long as it runs (half a second for 64 megapixels, measured), and
with it every poll. A process beside gives way to the API, and a fault in a decoder ends it alone. It ends when its
Ingress does.
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

from deployments.ingress.images.fitting import encode_input, fit_image
from deployments.ingress.images.reading import read_image
from models.errors import InvalidRequest, VideoError
from models.request.json_words import Described
from models.request.request import RequestLimits, VideoRequest

MAX_DECODE_S = 60.0
CPU_NICENESS = 5
START = "from deployments.ingress.images.decoder_pool import main; main()"
PASSED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""What a decoder is given of the environment: no secret is among it."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class FittedImage:
    """An image as its task keeps it, and the request with the size that it gave the video."""

    content: bytes
    request: VideoRequest


def fit_image_apart(data: bytes, request: VideoRequest, limits: RequestLimits) -> FittedImage:
    """Decode an image and bring it to the size of the video. Raises InvalidRequest."""
    image, fitted = fit_image(read_image(data, limits), request, limits)
    return FittedImage(encode_input(image, fitted), fitted)


class DecoderPool:
    """As many processes as decode at once, each started when it is needed first. Safe to call from several threads."""

    def __init__(self) -> None:
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()

    def fit(self, data: bytes, request: VideoRequest, limits: RequestLimits) -> FittedImage:
        """`fit`, in a process. Raises InvalidRequest."""
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
        decoder = decoder or _Decoder()
        try:
            answer = decoder.ask((data, request, limits))
        except (EOFError, OSError, TimeoutError) as error:
            decoder.close()
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

    def close(self) -> None:
        """End the processes that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()


class _Decoder:
    """One process, and the way to it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-c", START, str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603
                command, pass_fds=[theirs.fileno()], env=_environment(os.environ), stdin=subprocess.DEVNULL
            )

    def ask(self, question: tuple[bytes, VideoRequest, RequestLimits]) -> FittedImage | VideoError:
        """Have it fit an image. Raises EOFError, OSError, and TimeoutError when it takes too long."""
        self._connection.send(question)
        if not self._connection.poll(MAX_DECODE_S):
            raise TimeoutError
        answer: FittedImage | VideoError = self._connection.recv()
        return answer

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    known = {name: environment[name] for name in PASSED_VARIABLES if name in environment}
    return {**known, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


def serve(connection: Connection) -> None:
    """Answer until the other end is gone."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            data, request, limits = connection.recv()
            try:
                answer: FittedImage | VideoError = fit_image_apart(data, request, limits)
            except VideoError as error:
                answer = error
            connection.send(answer)


def main() -> None:
    """Be such a process; its one argument is the connection's descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the end comes with the Ingress's
    os.nice(CPU_NICENESS)
    serve(Connection(int(sys.argv[1])))


DECODER_POOL = DecoderPool()
"""One set for a process: the images of all its apps are decoded here."""
atexit.register(DECODER_POOL.close)

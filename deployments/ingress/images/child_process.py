"""Decodes HEIC and AVIF in a child process with bounded memory and time.

The file headers do not show the cost of decoding: each of a thousand tiles may be larger than declared. The decoders
are large C programs that read untrusted files. The child process holds no secret, and a crash of it only rejects one
image.
"""

import logging
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

from PIL import Image

from deployments.ingress.images.decoding import Bounds
from deployments.ingress.images.formats import Format, refuse
from models.errors import InvalidRequest
from models.request.json_words import Described

logger = logging.getLogger("ray.serve")

IN_CHILD_PROCESS = (Format.HEIC, Format.AVIF)
CHILD = "deployments.ingress.images.decode_child"
ROOT = Path(__file__).parents[3]
MAX_DECODE_S = 30
"""Time limit in seconds. A photo of 48 megapixels takes a tenth of it (measured)."""
RESERVED_BYTES = 1024**3
"""Address space for Python, the libraries and their stacks."""
REFUSED = 3
"""Exit code of the child when it rejects an image and gives the reason."""
SIZE = struct.Struct(">II")


def decode_in_child(data: bytes, kind: Format, bounds: Bounds) -> Image.Image:
    """Do the same as `decode`, in a child process that ends afterwards. Raises InvalidRequest."""
    numbers = map(str, (bounds.max_pixels, bounds.max_decode_bytes, bounds.side))
    child = [sys.executable, "-m", CHILD, kind, *numbers]
    environment = {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(  # noqa: S603  # no shell, and every argument is ours
            child, input=data, capture_output=True, env=environment, timeout=MAX_DECODE_S, check=False
        )
    except subprocess.TimeoutExpired:
        refuse(
            f"a {kind.words} file that takes longer to decode", f"a file that is decoded within {MAX_DECODE_S} seconds"
        )
    if done.returncode == REFUSED:
        given, _, allowed = done.stderr.decode().rpartition("\n")[0].partition("\n")
        raise InvalidRequest("image", Described(given), allowed)
    if done.returncode != 0:
        logger.info("a %s file ended its decoder with %d: %s", kind.words, done.returncode, _last_line(done.stderr))
        refuse(f"a damaged {kind.words} file of {len(data)} bytes", "a whole and undamaged file")
    return Image.frombytes("RGB", SIZE.unpack_from(done.stdout), memoryview(done.stdout)[SIZE.size :])


def _last_line(text: bytes) -> str:
    return text.decode(errors="replace").strip().rpartition("\n")[2][:200]


def bound_process(max_decode_bytes: int) -> None:
    """Limit the memory and CPU seconds of this process, and disable core files."""
    most = RESERVED_BYTES + 2 * max_decode_bytes
    for kind, bound in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_CPU, 2 * MAX_DECODE_S),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (bound, bound))
    os.nice(5)

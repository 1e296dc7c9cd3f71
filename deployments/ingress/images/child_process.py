"""Decodes HEIC and AVIF in a child process with limits on memory and time.

The headers of these files do not show the cost of decoding: each of a thousand tiles may be larger than declared.
The decoders are large C programs that read untrusted files.
"""

import logging
import struct
import subprocess

from PIL import Image

from deployments.ingress.child_process import run_child
from deployments.ingress.images.decoding import Bounds
from deployments.ingress.images.formats import Format, refuse
from models.errors import InvalidRequest
from models.request.json_words import Described

logger = logging.getLogger("ray.serve")

IN_CHILD_PROCESS = (Format.HEIC, Format.AVIF)
CHILD = "deployments.ingress.images.decode_child"
VARIABLES = {"MALLOC_ARENA_MAX": "1"}
MAX_DECODE_S = 30
"""A photo of 48 megapixels takes a tenth of this (measured)."""
RESERVED_BYTES = 1024**3
"""Address space for Python, the libraries and their stacks."""
REFUSED = 3
"""The child's exit code when it refuses an image and writes the reason to stderr."""
SIZE = struct.Struct(">II")


def decode_in_child(data: bytes, kind: Format, bounds: Bounds) -> Image.Image:
    """Run `decode` in a child process that ends afterwards. Raises InvalidRequest, ReaderLost."""
    arguments = [kind, *map(str, (bounds.max_pixels, bounds.max_decode_bytes, bounds.side))]
    try:
        done = run_child(CHILD, arguments, MAX_DECODE_S, VARIABLES, kind="image", size_bytes=len(data), stdin=data)
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

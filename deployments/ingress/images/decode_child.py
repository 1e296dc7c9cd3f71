"""The child process that decodes one HEIC or AVIF. It reads the file from stdin, and writes its size and RGB to stdout.

child_process.py starts it, without the server's environment variables.
"""

import sys

import pillow_heif
from PIL import AvifImagePlugin

from deployments.ingress.child_process import limit_process
from deployments.ingress.images.child_process import MAX_DECODE_S, REFUSED, RESERVED_BYTES, SIZE
from deployments.ingress.images.decoding import Bounds, decode
from deployments.ingress.images.formats import Format
from deployments.ingress.images.heif import trim
from models.errors import InvalidRequest

THREADS = 2


def main() -> int:
    """Decode one image, and return the exit code."""
    kind, bounds = Format(sys.argv[1]), Bounds(*map(int, sys.argv[2:5]))
    limit_process(MAX_DECODE_S, RESERVED_BYTES + 2 * bounds.max_decode_bytes)
    AvifImagePlugin.DEFAULT_MAX_THREADS = THREADS
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=THREADS)
    try:
        image = decode(trim(sys.stdin.buffer.read(), kind), kind, bounds)
    except InvalidRequest as error:
        sys.stderr.write(f"{error.given}\n{error.allowed}\n")
        return REFUSED
    sys.stdout.buffer.write(SIZE.pack(*image.size) + image.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())

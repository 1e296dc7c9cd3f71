"""Child process that decodes one HEIC or AVIF file. Input: the file on stdin. Output: size and RGB bytes on stdout.

`child_process.py` starts it, with none of the server's environment variables.
"""

import sys

import pillow_heif
from PIL import AvifImagePlugin

from deployments.ingress.images.child_process import REFUSED, SIZE, bound_process
from deployments.ingress.images.decoding import Bounds, decode
from deployments.ingress.images.formats import Format
from deployments.ingress.images.heif import trim
from models.errors import InvalidRequest

THREADS = 2


def main() -> int:
    """Decode one image and return the exit code."""
    kind, bounds = Format(sys.argv[1]), Bounds(*map(int, sys.argv[2:5]))
    bound_process(bounds.max_decode_bytes)
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

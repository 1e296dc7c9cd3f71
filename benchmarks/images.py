"""Cost of decoding one image: seconds and memory, for the worst image of each accepted format.

python -m benchmarks.images [--decode-bytes BYTES]

Each file is small, of one color, and as large in pixels as the limits allow, like an attacker's file. Each is decoded
in a new process, because peak memory is counted per process.
"""

import argparse
import io
import multiprocessing
import time
from pathlib import Path

import pillow_heif
from PIL import Image

from deployments.ingress.images import jpeg
from deployments.ingress.images.decoding import Bounds, decode
from deployments.ingress.images.formats import BYTES_PER_PIXEL, Format
from deployments.ingress.images.heif import trim
from deployments.ingress.images.reading import LEAST_SIDE
from models.request.request import RequestLimits

CASES: tuple[tuple[str, Format, str, dict[str, object]], ...] = (
    ("JPEG", Format.JPEG, "RGB", {}),
    ("JPEG, CMYK", Format.JPEG, "CMYK", {}),
    ("JPEG, progressive", Format.JPEG, "RGB", {"progressive": True}),
    ("JPEG, progressive 4:4:4", Format.JPEG, "RGB", {"progressive": True, "subsampling": 0}),
    ("PNG", Format.PNG, "RGB", {"compress_level": 1}),
    ("PNG, alpha", Format.PNG, "RGBA", {"compress_level": 1}),
    ("PNG, 16 bits", Format.PNG, "I;16", {"compress_level": 1}),
    ("PNG, palette", Format.PNG, "P", {"compress_level": 1}),
    ("WebP, lossy", Format.WEBP, "RGB", {"method": 0, "quality": 1}),
    ("WebP, lossless", Format.WEBP, "RGB", {"lossless": True, "method": 0, "quality": 0}),
    ("WebP, alpha", Format.WEBP, "RGBA", {"method": 0, "quality": 1}),
    ("GIF", Format.GIF, "P", {}),
    ("HEIC", Format.HEIC, "RGB", {"quality": 1}),
    ("HEIC, alpha", Format.HEIC, "RGBA", {"quality": 1}),
    ("AVIF", Format.AVIF, "RGB", {"speed": 10, "quality": 1}),
    ("AVIF, alpha", Format.AVIF, "RGBA", {"speed": 10, "quality": 1}),
)
GB = 1e9


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decode-bytes", type=int, default=RequestLimits().max_decode_bytes)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    bounds = Bounds(RequestLimits().max_image_pixels, chosen.decode_bytes, LEAST_SIDE)
    pillow_heif.register_heif_opener()
    context = multiprocessing.get_context("spawn")
    for name, kind, mode, options in CASES:
        if not name.startswith(chosen.only):
            continue
        side = most_side(kind, mode, options, bounds)
        buffer = io.BytesIO()
        blank(mode, side).save(buffer, kind, **options)
        with context.Pool(1) as pool:
            seconds, taken = pool.apply(measure, (buffer.getvalue(), kind, bounds))
        print(
            f"{name:24} {side**2 / 1e6:6.1f} MP {len(buffer.getvalue()):9} bytes "
            f"{seconds:5.1f} s of CPU {taken / GB:5.2f} GB {taken / side**2:5.1f} bytes/pixel",
            flush=True,
        )


def blank(mode: str, side: int) -> Image.Image:
    """A gray image."""
    return Image.new(mode, (side, side), 100 if mode in ("P", "I;16") else (100,) * len(mode))


def most_side(kind: Format, mode: str, options: dict[str, object], bounds: Bounds) -> int:
    """The side of the largest square image that the limits allow."""
    if kind is not Format.JPEG:
        return int((bounds.max_decode_bytes / BYTES_PER_PIXEL[kind]) ** 0.5)
    buffer = io.BytesIO()
    blank(mode, 64).save(buffer, kind, **options)
    head = jpeg.trim(buffer.getvalue())
    head.width = head.height = int(bounds.max_pixels**0.5)
    while jpeg.cost_bytes(head, bounds.side) > bounds.max_decode_bytes:
        head.width = head.height = head.width - 8
    return head.width


def measure(data: bytes, kind: Format, bounds: Bounds) -> tuple[float, int]:
    """CPU seconds, and bytes of memory beyond the process's previous peak."""
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    if kind in (Format.HEIC, Format.AVIF):
        data = trim(data, kind)
    before, began = peak_bytes(), time.process_time()
    decode(data, kind, bounds)
    return time.process_time() - began, peak_bytes() - before


def peak_bytes() -> int:
    """Peak memory of this process. `getrusage` would include the parent's peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()

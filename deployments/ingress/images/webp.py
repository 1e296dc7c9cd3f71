"""WebP: passes Pillow only the first frame, with its color and orientation data."""

import struct
from dataclasses import dataclass

from deployments.ingress.images.formats import MAX_PARTS, refuse

FRAMES = (b"VP8 ", b"VP8L", b"ANMF")
HELPFUL = (b"VP8X", b"ICCP", b"ANIM", b"ALPH", b"EXIF", b"XMP ")
START = 12
"""Offset of the first chunk in bytes."""


@dataclass(frozen=True)
class WebP:
    """A WebP reduced to its first frame."""

    data: bytes
    width: int
    height: int


def trim(data: bytes) -> WebP:
    """Keep the chunks of the first frame. Raises ValueError for a damaged file, InvalidRequest for too many chunks."""
    kept: list[bytes] = []
    at, has_frame, size = START, False, (0, 0)
    for _ in range(MAX_PARTS):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length
        if end > len(data) or len(name) < 4:  # noqa: PLR2004
            break
        if name in HELPFUL or (name in FRAMES and not has_frame):
            kept.append(data[at:end] + b"\0" * (length % 2))
            has_frame = has_frame or name in FRAMES
            size = size if any(size) else _size_of(name, data[at + 8 : at + 18])
        at = end + length % 2
    else:
        refuse(f"a WebP of more than {MAX_PARTS} chunks", f"a WebP of at most {MAX_PARTS} chunks")
    if not has_frame:
        raise ValueError("no frame")
    body = b"WEBP" + b"".join(kept)
    return WebP(b"RIFF" + struct.pack("<I", len(body)) + body, *size)


def _size_of(name: bytes, head: bytes) -> tuple[int, int]:
    """Return width and height from the first bytes of a chunk; (0, 0) if the chunk has no size."""
    if name == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return 0, 0

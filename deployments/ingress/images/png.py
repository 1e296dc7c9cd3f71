"""Trims a PNG: keeps only the chunks that the image needs.

It removes text, private chunks and the frames of an animation. It also removes optional chunks with a wrong checksum.
Pillow would refuse a file for either.
"""

import struct
import zlib
from dataclasses import dataclass

from deployments.ingress.images.formats import MAX_PARTS, refuse

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE")
HELPFUL = (b"tRNS", b"iCCP", b"eXIf")
MAX_PROFILE_BYTES = 1024 * 1024
MAX_HELPFUL_BYTES = 8 * 1024 * 1024
XMP = b"XML:com.adobe.xmp\0\0"
"""The start of uncompressed XMP, as its specification requires. Some programs write the orientation only there."""
MAX_XMP_BYTES = 256 * 1024
HEAD_BYTES = 13
GREY, RGB = 0, 2


@dataclass(frozen=True)
class Png:
    """A trimmed PNG. `transparent` is the color of transparent pixels, in the bit depth of the file."""

    data: bytes
    width: int
    height: int
    depth: int
    color_type: int
    transparent: tuple[int, ...] | None


def trim(data: bytes) -> Png:
    """Read the chunks, keep those of the image. Raises ValueError for a damaged file, InvalidRequest for too many."""
    kept: list[tuple[bytes, bytes]] = []
    pixels: list[bytes] = []
    at, count = len(SIGNATURE), 0
    while at + 8 <= len(data):
        count += 1
        if count > MAX_PARTS:
            refuse(f"a PNG of more than {MAX_PARTS} chunks", f"a PNG of at most {MAX_PARTS} chunks")
        size, name = struct.unpack_from(">I4s", data, at)
        start, at = at + 8, at + 12 + size
        if name == b"IDAT":
            pixels.append(data[start : start + size])
        elif name == b"IEND":
            break
        elif not pixels and (name in NEEDED or _is_helpful(data, name, start, size)):
            kept.append((name, _body(data, name, start, size)))
    if not kept or kept[0][0] != b"IHDR" or len(kept[0][1]) != HEAD_BYTES or not pixels:
        raise ValueError("not a PNG")
    head = kept[0][1]
    width, height, depth, color_type = struct.unpack(">IIBB", head[:10])
    transparent = None
    if color_type in (GREY, RGB):
        # Pillow compares these with samples scaled to 8 bits, so we compare them ourselves
        transparent = next((_samples(body, color_type) for name, body in kept if name == b"tRNS"), None)
        kept = [(name, body) for name, body in kept if name != b"tRNS"]
    chunks = [*kept, (b"IDAT", b"".join(pixels)), (b"IEND", b"")]
    return Png(SIGNATURE + b"".join(_chunk(*each) for each in chunks), width, height, depth, color_type, transparent)


def _is_helpful(data: bytes, name: bytes, start: int, size: int) -> bool:
    if name == b"iTXt":
        return size <= MAX_XMP_BYTES and data.startswith(XMP, start)
    if name not in HELPFUL or size > MAX_HELPFUL_BYTES:
        return False
    if _checksum(data, start, size) != zlib.crc32(data[start - 4 : start + size]):
        return False
    return name != b"iCCP" or _is_profile(data[start : start + size])


def _is_profile(body: bytes) -> bool:
    """Tell whether Pillow accepts the profile. For a profile that it does not, it would refuse the file."""
    _, _, packed = body.partition(b"\0")
    reader = zlib.decompressobj()
    try:
        reader.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return packed[:1] == b"\0" and not reader.unconsumed_tail


def _body(data: bytes, name: bytes, start: int, size: int) -> bytes:
    """Return the body of a chunk. Raises ValueError if the image needs the chunk and it is damaged."""
    if name in NEEDED and _checksum(data, start, size) != zlib.crc32(data[start - 4 : start + size]):
        raise ValueError(f"{name!r} is damaged")
    return data[start : start + size]


def _checksum(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start + size : start + size + 4], "big")


def _samples(body: bytes, color_type: int) -> tuple[int, ...] | None:
    count = 1 if color_type == GREY else 3
    return struct.unpack(f">{count}H", body[: 2 * count]) if len(body) >= 2 * count else None


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))

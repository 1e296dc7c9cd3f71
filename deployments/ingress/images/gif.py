"""GIF: drops everything before the first image, such as comments, because Pillow joins comments block by block."""

from dataclasses import dataclass

from deployments.ingress.images.formats import MAX_PARTS, refuse

IMAGE, EXTENSION, CONTROL = 0x2C, 0x21, 0xF9
HEAD_BYTES = 13


@dataclass(frozen=True)
class Gif:
    """A GIF that starts with its first image."""

    data: bytes
    width: int
    height: int


def trim(data: bytes) -> Gif:
    """Skip to the first image. Raises ValueError for a damaged file, InvalidRequest for too many blocks."""
    if len(data) < HEAD_BYTES:
        raise ValueError("no header")
    at = start = HEAD_BYTES + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    control, count = b"", 0
    while data[at : at + 1] == bytes([EXTENSION]):
        block = at
        at += 2
        while size := int.from_bytes(data[at : at + 1], "big"):
            at += 1 + size
            count += 1
        at += 1
        count += 1
        if count > MAX_PARTS:
            refuse(f"a GIF of more than {MAX_PARTS} blocks", f"a GIF of at most {MAX_PARTS} blocks")
        if data[block + 1] == CONTROL:
            control = data[block:at]
    if data[at : at + 1] != bytes([IMAGE]):
        raise ValueError("no image")
    sides = [int.from_bytes(data[each : each + 2], "little") for each in (6, 8, at + 1, at + 3, at + 5, at + 7)]
    width, height = max(sides[0], sides[2] + sides[4]), max(sides[1], sides[3] + sides[5])
    return Gif(data[:start] + control + data[at:], width, height)

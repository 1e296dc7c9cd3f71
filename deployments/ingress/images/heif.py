"""HEIC and AVIF: detaches metadata from the images, so that the decoder does not read it."""

from deployments.ingress.images.formats import Format

BRANDS = {Format.HEIC: b"heic", Format.AVIF: b"avif"}
META, REFERENCES, DESCRIBES, NOTHING = b"meta", b"iref", b"cdsc", b"skip"
HEAD, LONG_HEAD = 8, 16
MAX_BOXES = 10_000


def trim(data: bytes, kind: Format) -> bytes:
    """Return the file with references from metadata to images disabled, and with a brand that the decoder knows.

    The image does not need EXIF or XMP: HEIC and AVIF store the orientation in image properties.
    """
    file = bytearray(data)
    if kind is Format.HEIC or bytes(file[8:12]) not in (b"avif", b"avis"):
        file[8:12] = BRANDS[kind]
    for start, end in _boxes(file, 0, len(file), META):
        for first, last in _boxes(file, start + 4, end, REFERENCES):
            for inner, _ in _boxes(file, first + 4, last, DESCRIBES):
                file[inner - 4 : inner] = NOTHING
    return bytes(file)


def _boxes(file: bytearray, at: int, end: int, wanted: bytes) -> list[tuple[int, int]]:
    """Return the start and end of the content of each `wanted` box between `at` and `end`."""
    found = []
    for _ in range(MAX_BOXES):
        if at + HEAD > end:
            break
        size, name, start = int.from_bytes(file[at : at + 4], "big"), bytes(file[at + 4 : at + 8]), at + HEAD
        if size == 1:
            size, start = int.from_bytes(file[at + 8 : at + 16], "big"), at + LONG_HEAD
        if size == 0:
            size = end - at
        if size < start - at or at + size > end:
            break
        if name == wanted:
            found.append((start, at + size))
        at += size
    return found

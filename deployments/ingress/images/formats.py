"""The accepted image formats: how to detect them, and how much memory decoding takes."""

from enum import StrEnum
from types import MappingProxyType
from typing import NoReturn

from models.errors import InvalidRequest
from models.request.json_words import Described


class Format(StrEnum):
    """Accepted formats. Each value is Pillow's name of the format."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    GIF = "GIF"
    HEIC = "HEIF"
    AVIF = "AVIF"

    @property
    def words(self) -> str:
        """The common name of the format, for error messages."""
        return {"WEBP": "WebP", "HEIF": "HEIC"}.get(self.value, self.value)


TAKEN = "JPEG, PNG, WebP, GIF, HEIC or AVIF"
BYTES_PER_PIXEL = MappingProxyType({Format.PNG: 9, Format.GIF: 9, Format.WEBP: 16, Format.AVIF: 16, Format.HEIC: 16})
"""Peak memory in bytes per pixel, from decoding to RGB (source: benchmarks/images.py). For JPEG, `jpeg.py` computes it
from the header, because libjpeg can shrink while it decodes."""
MAX_PARTS = 100_000
"""Maximum number of chunks, segments or blocks in a file. Python needs a microsecond for each. A photo has some
thousands."""
AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIC_BRANDS = frozenset(
    (
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
        b"hevm",
        b"hevs",
        b"heif",
        b"mif1",
        b"msf1",
        b"mif2",
        b"MiHE",
    )
)
MAX_BRANDS = 32


def find_format(data: bytes) -> Format | None:
    """Detect the format of a file from its first bytes. Returns None for an unknown format."""
    if data.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    return _by_brand(data) if data[4:8] == b"ftyp" else None


def check_cost(kind: Format, pixels: int, max_decode_bytes: int) -> None:
    """Raise InvalidRequest if decoding would take more than `max_decode_bytes` of memory."""
    most = max_decode_bytes // BYTES_PER_PIXEL[kind]
    if pixels > most:
        refuse(f"a {kind.words} file of {megapixels(pixels)}", f"a {kind.words} file of at most {megapixels(most)}")


def megapixels(pixels: int) -> str:
    """Format a number of pixels as text."""
    return f"{pixels / 1e6:.4g} megapixels"


def refuse(given: str, allowed: str) -> NoReturn:
    """Raise InvalidRequest for the image. `given` and `allowed` are texts for the client."""
    raise InvalidRequest("image", Described(given), allowed)


def _by_brand(data: bytes) -> Format | None:
    size = min(int.from_bytes(data[:4], "big"), 4 * MAX_BRANDS)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    if brands & AVIF_BRANDS:
        return Format.AVIF
    return Format.HEIC if brands & HEIC_BRANDS else None

"""JPEG: passes Pillow only the first image of the file, with its color and orientation data.

Other data between the segments and after the image is dropped. Phones append a video, a second image or a gain map.
"""

import io
import re
from dataclasses import dataclass, field

from PIL import Image, ImageChops

from deployments.ingress.images.formats import MAX_PARTS, Format, megapixels, refuse

SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
FIRST_APP, LAST_APP = 0xE0, 0xEF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
STANDALONE = frozenset((0x01, SOI, *range(0xD0, 0xD8)))
MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""The next marker after a scan's data. Stuffed 0xFF bytes and restart markers belong to the data."""
KEPT_APPS = {
    0xE0: ((b"JFIF\0", 14),),
    0xE1: ((b"Exif\0\0", 14), (b"http://ns.adobe.com/xap/1.0/\0", 29)),
    0xE2: ((b"ICC_PROFILE\0", 14),),
    0xEE: ((b"Adobe", 12),),
}
"""Segments that are kept: their first bytes and their minimum length."""
MAX_SCANS = 100
"""Maximum number of scans. A progressive JPEG has about ten. Each costs a pass over all pixels, so without a limit a
small file could take hours."""
COEFFICIENTS = 64
BYTES_PER_COEFFICIENT = 2
BYTES_PER_DECODED_PIXEL = 9
SCALES = (8, 4, 2, 1)
BLOCK = 8
ANYTHING = bytes(range(255)) * 2
"""Arbitrary data for missing blocks. Their pixels differ from a decode without it; `find_missing` compares both."""


@dataclass
class Jpeg:
    """A JPEG reduced to its image. `whole` is True if the end of the image was found."""

    data: bytes = b""
    width: int = 0
    height: int = 0
    progressive: bool = False
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Horizontal and vertical sampling factors, by component id."""
    scans: int = 0
    interleaved: bool = True
    missing_bits: dict[int, list[int]] = field(default_factory=dict)
    """By component id, for each coefficient: how many bits no scan has delivered."""
    whole: bool = False

    @property
    def bytes_held(self) -> int:
        """Memory in bytes that libjpeg needs beside the pixels: with several scans it keeps all coefficients."""
        if not self.progressive and self.interleaved:
            return 0
        most = max((across * down for across, down in self.sampling.values()), default=1)
        samples = sum(across * down for across, down in self.sampling.values()) / max(most, 1)
        return int(self.width * self.height * samples * BYTES_PER_COEFFICIENT)


def trim(data: bytes) -> Jpeg:
    """Keep the segments of the first image. Raises InvalidRequest for too many segments or scans."""
    jpeg, kept, at, seen = Jpeg(), [b"\xff\xd8"], 2, set[bytes]()
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        while at >= 0 and data[at + 1 : at + 2] == b"\xff":
            at += 1
        if at < 0 or at + 2 > len(data):
            break
        marker = data[at + 1]
        if marker == EOI:
            jpeg.whole = True
            break
        if marker in STANDALONE or marker == 0:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at:end]
        if end < at + 4 or end > len(data):
            kept.append(data[at:] if marker == SOS else b"")
            break
        at = end
        if marker == SOS:
            _note_scan(jpeg, segment[4:])
            found = MARKER.search(data, at)
            at = found.end() - 2 if found else len(data)
            kept.extend((segment, data[end:at]))
        elif _is_kept(marker, segment[4:], seen):
            kept.append(segment)
            if marker in FRAMES and not jpeg.sampling:
                _note_frame(jpeg, marker, segment[4:])
    else:
        refuse(f"a JPEG of more than {MAX_PARTS} segments", f"a JPEG of at most {MAX_PARTS} segments")
    jpeg.data = b"".join((*kept, b"\xff\xd9"))
    return jpeg


def choose_scale(jpeg: Jpeg, side: int) -> int:
    """Return the factor by which libjpeg shrinks while decoding. The shorter side keeps at least `side` pixels."""
    return next((scale for scale in SCALES if min(jpeg.width, jpeg.height) // side >= scale), 1)


def cost_bytes(jpeg: Jpeg, side: int) -> int:
    """Return the peak memory in bytes, from decoding to RGB."""
    pixels = jpeg.width * jpeg.height
    return jpeg.bytes_held + BYTES_PER_DECODED_PIXEL * pixels // choose_scale(jpeg, side) ** 2


def check_cost(jpeg: Jpeg, side: int, max_decode_bytes: int) -> None:
    """Raise InvalidRequest if decoding would take more than `max_decode_bytes` of memory."""
    pixels, cost = jpeg.width * jpeg.height, cost_bytes(jpeg, side)
    if cost > max_decode_bytes:
        kind = f"a {'progressive ' * jpeg.progressive}{Format.JPEG.words} of this shape"
        most = megapixels(pixels * max_decode_bytes // cost)
        refuse(f"{kind} of {megapixels(pixels)}", f"{kind} of at most {most}")


def find_missing(jpeg: Jpeg) -> tuple[int, int, int, int] | None:
    """Return the box (left, top, right, bottom) in pixels that a truncated file lacks; None if nothing is missing.

    Raises ValueError if more is missing than a part of the last row of blocks.
    """
    if any(any(bits) for bits in jpeg.missing_bits.values()):
        raise ValueError("scans are missing")
    bare, other = _small(jpeg.data), _small(jpeg.data[:-2] + ANYTHING + jpeg.data[-2:])
    box = ImageChops.difference(bare, other).getbbox()
    if box is None:
        return None
    rows = max(down for _, down in jpeg.sampling.values())
    if box[1] < bare.height - rows:
        raise ValueError("rows are missing")
    return (box[0] * BLOCK, box[1] * BLOCK, jpeg.width, jpeg.height)


def _small(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.draft(None, (max(1, image.width // BLOCK), max(1, image.height // BLOCK)))
    return image.convert("RGB")


def _is_kept(marker: int, body: bytes, seen: set[bytes]) -> bool:
    if marker == COM:
        return False
    if not FIRST_APP <= marker <= LAST_APP:
        return True
    for start, least in KEPT_APPS.get(marker, ()):
        if body.startswith(start) and len(body) >= least:
            again = start in seen and start != b"ICC_PROFILE\0"
            seen.add(start)
            return not again
    return False


def _note_frame(jpeg: Jpeg, marker: int, body: bytes) -> None:
    jpeg.height, jpeg.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    jpeg.progressive = marker in PROGRESSIVE
    for at in range(6, min(len(body) - 2, 6 + 3 * 4), 3):
        jpeg.sampling[body[at]] = (max(1, body[at + 1] >> 4), max(1, body[at + 1] & 15))
        jpeg.missing_bits[body[at]] = [1] * COEFFICIENTS


def _note_scan(jpeg: Jpeg, body: bytes) -> None:
    jpeg.scans += 1
    if jpeg.scans > MAX_SCANS:
        refuse(f"a JPEG of more than {MAX_SCANS} scans", f"a JPEG of at most {MAX_SCANS} scans")
    count = body[0] if body else 0
    jpeg.interleaved = jpeg.interleaved and count == len(jpeg.sampling)
    first, last, bits = [*body[1 + 2 * count :], 0, 0, 0][:3]
    for component in body[1 : 1 + 2 * count : 2]:
        for at in range(first, min(last, COEFFICIENTS - 1) + 1):
            if component in jpeg.missing_bits:
                jpeg.missing_bits[component][at] = bits & 15

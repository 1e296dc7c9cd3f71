"""The picture of an image-to-video request: from the bytes that a client sent to RGB of the video's size.

Pillow alone. What phones and WhatsApp send is taken; everything else is refused with the reason, before it
costs memory. Safe to call from several threads.
"""

import io
from contextlib import suppress
from typing import NoReturn

from PIL import (
    GifImagePlugin,  # noqa: F401  imported here, so that no two requests load the decoders at once
    Image,
    ImageCms,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from models.errors import ImageTooLarge, InvalidRequest
from models.json_words import Described
from models.request import Limits

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_JPEG_SCANS = 100
"""A progressive JPEG has about ten. Each costs a pass over all pixels, so a small file can ask for hours."""
BACKDROP = (255, 255, 255)
"""What transparent parts show: white, for most of such pictures are drawn dark on light."""
LEAST_SIDE = 2304
"""What the shorter side keeps of a larger image: a photo of 12 megapixels is whole, one of 48 is halved."""
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(data: bytes, limits: Limits) -> Image.Image:
    """Decode a picture: RGB in sRGB, upright, the first frame of an animation.

    May come back smaller than it was sent, but with no less than LEAST_SIDE pixels, nor `limits.max_side`, on its
    shorter side. Transparent parts become white. Raises ImageTooLarge for too many bytes and InvalidRequest for
    anything else.
    """
    _check_bytes(data, limits)
    side = max(LEAST_SIDE, limits.max_side)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _refuse("a picture of far more pixels", _allowed_pixels(limits))
    except Exception as error:  # a decoder raises whatever its parsing ran into
        raise InvalidRequest("image", Described(_describe(data)), _allowed_files()) from error
    _check_pixels(image, limits)
    try:
        image.draft(None, (side, side))
        image.load()
    except Exception as error:
        raise InvalidRequest(
            "image", Described(f"a damaged {image.format} file"), "a whole and undamaged file"
        ) from error
    _turn_upright(image)
    return _to_srgb(_flatten(_shrink(_plain(image), side)))


def _refuse(given: str, allowed: str) -> NoReturn:
    raise InvalidRequest("image", Described(given), allowed)


def _allowed_files() -> str:
    return "a JPEG, PNG, WebP or GIF file"


def _allowed_pixels(limits: Limits) -> str:
    return f"of at most {limits.max_image_pixels / 1e6:g} megapixels"


def _describe(data: bytes) -> str:
    """What the bytes are, as far as their first ones tell."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "a HEIC file"
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")) or data[8:12] == b"WEBP":
        return f"a damaged file of {len(data)} bytes"
    return f"a file of {len(data)} bytes of another kind"


def _check_bytes(data: bytes, limits: Limits) -> None:
    if not data:
        _refuse("a file of 0 bytes", _allowed_files())
    if len(data) > limits.max_image_bytes:
        allowed = f"a file of at most {limits.max_image_bytes} bytes"
        raise ImageTooLarge("image", Described(f"a file of {len(data)} bytes"), allowed)
    if data.startswith(b"\xff\xd8") and (scans := data.count(b"\xff\xda")) > MAX_JPEG_SCANS:
        _refuse(f"a JPEG of {scans} scans", f"a JPEG of at most {MAX_JPEG_SCANS} scans")


def _check_pixels(image: Image.Image, limits: Limits) -> None:
    pixels = image.width * image.height
    if not pixels:
        _refuse(f"a picture of {image.width}x{image.height} pixels", "a picture with pixels")
    if pixels > limits.max_image_pixels:
        _refuse(f"a picture of {pixels / 1e6:.1f} megapixels", _allowed_pixels(limits))


def _turn_upright(image: Image.Image) -> None:
    """Turn the picture as its EXIF says; leave it where the EXIF is damaged."""
    with suppress(Exception):  # the pixels are sound, and the EXIF parser raises whatever it ran into
        ImageOps.exif_transpose(image, in_place=True)


def _plain(image: Image.Image) -> Image.Image:
    """To L, RGB, RGBA or CMYK: without palette or 16 bits."""
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in SIXTEEN_BIT_MODES:
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """Halve, third and so on while the shorter side keeps `side` pixels: what follows costs by the pixel."""
    factor = min(image.size) // side
    return image.reduce(factor) if factor > 1 else image


def _flatten(image: Image.Image) -> Image.Image:
    """Lay what is transparent on the backdrop."""
    if image.mode != "RGBA":
        return image
    flat = Image.new("RGB", image.size, BACKDROP)
    flat.paste(image, mask=image)
    flat.info.update(image.info)
    return flat


def _to_srgb(image: Image.Image) -> Image.Image:
    """From the colours of the picture's own profile, such as Display P3; a damaged one is ignored."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            converted = None
        image = converted or image
    image = image.convert("RGB")
    image.info.clear()
    return image

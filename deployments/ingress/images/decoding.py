"""Decodes the bytes of an image with Pillow into upright RGB pixels in sRGB."""

import io
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import (
    GifImagePlugin,  # noqa: F401  imported here, so that no two requests load the decoders at once
    Image,
    ImageCms,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from deployments.ingress.images import gif, jpeg, png, webp
from deployments.ingress.images.formats import Format, check_cost, megapixels, refuse
from models.errors import InvalidRequest
from models.request.json_words import Described

Image.MAX_IMAGE_PIXELS = None  # our own limits by format apply before Pillow opens a file
BACKDROP = (255, 255, 255)
"""The color of transparent parts: white, because most transparent images are drawn dark on light."""
OPAQUE = 255
SIXTEEN_BITS = 16
LOW_BYTES = "RGB;16L"
"""The raw mode that makes Pillow read the second byte of each PNG sample instead of the first."""
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Bounds:
    """The limits of decoding. `side` is the least length in pixels of the shorter side after an image is shrunk."""

    max_pixels: int
    max_decode_bytes: int
    side: int


def decode(data: bytes, kind: Format, bounds: Bounds) -> Image.Image:
    """Return the image in the file.

    A large image may come back smaller, but its shorter side keeps at least `bounds.side` pixels. Raises
    InvalidRequest.
    """
    try:
        image = _open(data, kind, bounds)
        _turn_upright(image)
        return _to_srgb(_flatten(_shrink(image, bounds.side)))
    except InvalidRequest:
        raise
    except Exception as error:  # a damaged file can make a decoder raise any exception
        given = Described(f"a damaged {kind.words} file of {len(data)} bytes")
        raise InvalidRequest("image", given, "a whole and undamaged file") from error


def check_pixels(kind: Format, width: int, height: int, bounds: Bounds) -> None:
    """Raise InvalidRequest for an image with too many pixels or none."""
    if not width or not height:
        refuse(f"an image of {width}x{height} pixels", "an image with pixels")
    if width * height > bounds.max_pixels:
        refuse(f"an image of {megapixels(width * height)}", f"of at most {megapixels(bounds.max_pixels)}")
    if kind is not Format.JPEG:
        check_cost(kind, width * height, bounds.max_decode_bytes)


def _open(data: bytes, kind: Format, bounds: Bounds) -> Image.Image:
    """Return the pixels in L, RGB, RGBA or CMYK mode, without a palette and with 8 bits."""
    if kind is Format.JPEG:
        return _open_jpeg(data, bounds)
    if kind is Format.PNG:
        return _open_png(data, bounds)
    if kind in (Format.WEBP, Format.GIF):
        trimmed = webp.trim(data) if kind is Format.WEBP else gif.trim(data)
        check_pixels(kind, trimmed.width, trimmed.height, bounds)
        data = trimmed.data
    image = Image.open(io.BytesIO(data), formats=(kind,))
    check_pixels(kind, image.width, image.height, bounds)
    image.load()
    return _plain(image)


def _open_jpeg(data: bytes, bounds: Bounds) -> Image.Image:
    trimmed = jpeg.trim(data)
    if not trimmed.sampling:
        raise ValueError("no frame")
    check_pixels(Format.JPEG, trimmed.width, trimmed.height, bounds)
    jpeg.check_cost(trimmed, bounds.side, bounds.max_decode_bytes)
    missing = None if trimmed.whole else jpeg.find_missing(trimmed)
    image = Image.open(io.BytesIO(trimmed.data), formats=(Format.JPEG,))
    image.draft(None, (bounds.side, bounds.side))
    image.load()
    if missing is not None:
        _fill(image, missing, image.width / trimmed.width)
    return _plain(image)


def _fill(image: Image.Image, box: tuple[int, int, int, int], scale: float) -> None:
    """Fill `box`, which lies in the last row of blocks, with copies of the row of pixels above it."""
    left, top = int(box[0] * scale), int(box[1] * scale)
    if top > 0:
        above = image.crop((left, top - 1, image.width, top))
        image.paste(above.resize((image.width - left, image.height - top)), (left, top))


def _open_png(data: bytes, bounds: Bounds) -> Image.Image:
    trimmed = png.trim(data)
    check_pixels(Format.PNG, trimmed.width, trimmed.height, bounds)
    image = Image.open(io.BytesIO(trimmed.data), formats=(Format.PNG,))
    image.load()
    if trimmed.transparent is None:
        return _plain(image)
    plain = _plain(image)
    plain.putalpha(Image.fromarray(_opacity(trimmed, image)))
    return plain.convert("RGBA")


def _opacity(trimmed: png.Png, image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return alpha 0 where a pixel has the PNG's transparent color, else 255. Compares at the bit depth of the file."""
    samples, wanted = np.asarray(image), np.asarray(trimmed.transparent)
    if trimmed.color_type == png.GREY:
        if trimmed.depth < SIXTEEN_BITS:
            wanted = wanted * (OPAQUE // (2**trimmed.depth - 1))
        same = samples.astype(np.uint8) * np.uint8(OPAQUE) == wanted if image.mode == "1" else samples == wanted
    elif trimmed.depth == SIXTEEN_BITS:
        low = Image.open(io.BytesIO(trimmed.data), formats=(Format.PNG,))
        low.tile = [tile._replace(args=LOW_BYTES) for tile in low.tile]
        same = (samples == wanted >> 8).all(axis=2) & (np.asarray(low) == wanted & 255).all(axis=2)
    else:
        same = (samples == wanted).all(axis=2)
    return np.where(same, np.uint8(0), np.uint8(OPAQUE))


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        plain = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        plain.info.update(image.info)
        return plain
    if image.mode == "La":
        return image.convert("LA").convert("RGBA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def _turn_upright(image: Image.Image) -> None:
    """Rotate the image as its EXIF says. Leave it unchanged if the EXIF is damaged."""
    with suppress(Exception):  # the pixels are usable, and the EXIF parser can raise any exception
        ImageOps.exif_transpose(image, in_place=True)


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """Divide both sides by the largest whole number that keeps `side` pixels. Later steps cost time for each pixel."""
    factor = min(image.size) // side
    return image.reduce(factor) if factor > 1 else image


def _flatten(image: Image.Image) -> Image.Image:
    """Paint the image on the backdrop, which removes transparency."""
    if image.mode != "RGBA":
        return image
    flat = Image.new("RGB", image.size, BACKDROP)
    flat.paste(image, mask=image)
    flat.info.update(image.info)
    return flat


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert from the image's own color profile, such as Display P3. A damaged profile is ignored."""
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

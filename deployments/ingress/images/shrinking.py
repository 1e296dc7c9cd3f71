"""Makes small JPEGs of images that this server has written."""

import io
from typing import Any

from PIL import Image


def shrink_to_jpeg(image: bytes, side_px: int, formats: list[str] | None = None, **options: Any) -> bytes:
    """Return an image as a JPEG whose sides have at most `side_px`. Raises UnidentifiedImageError, OSError.

    `formats` are those that are read; None reads all that Pillow knows. `options` are Pillow's for a JPEG.
    """
    small = io.BytesIO()
    with Image.open(io.BytesIO(image), formats=formats) as opened:
        opened.thumbnail((side_px, side_px))
        opened.convert("RGB").save(small, "JPEG", **options)
    return small.getvalue()

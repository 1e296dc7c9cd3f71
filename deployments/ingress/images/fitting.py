"""Fits a decoded image to the size of its video, and encodes the file that the Generator reads.

The Generator compresses the image before it shrinks it, as Lightricks' pipelines do. Therefore an image larger than the
video keeps its own resolution here and only gets the shape of the video.
"""

import io
import math

from PIL import Image, ImageOps

from models.request.enums import ImageFit
from models.request.request import SIDE_MULTIPLE, RequestLimits, VideoRequest

BARS = (0, 0, 0)
PIXELS_WEIGHT = 0.1
"""`fit: match`: weight of a deviation in pixel count, relative to the same deviation in shape."""
MAX_KEPT_SIDE = 4608
"""Maximum length in pixels of the longer side of a stored image. A photo of 12 or 16 megapixels is not shrunk."""
JPEG_QUALITY = 92
"""JPEG quality without chroma subsampling. Its error is 3 dB below that of the first frame's compression (measured)."""


def fit_image(image: Image.Image, request: VideoRequest, limits: RequestLimits) -> tuple[Image.Image, VideoRequest]:
    """Fit `image` to the shape of the video, as `request.fit` says. Returns the image and the updated request.

    A smaller image is enlarged to exactly the size of the returned request. A larger image keeps its own resolution, up
    to MAX_KEPT_SIDE. `match` changes the height and width of the request.
    """
    if request.fit is ImageFit.MATCH:
        width, height = _matching_size(image, request, limits)
        request = request.model_copy(update={"height": height, "width": width})
    size = (request.width, request.height)
    if request.fit is ImageFit.PAD:
        return _pad(image, _padded_size(image.size, size)), request
    return _crop(image, size), request


def encode_input(image: Image.Image, request: VideoRequest) -> bytes:
    """Encode the image: PNG if it has the size of the video, otherwise JPEG, because a photo as PNG takes megabytes."""
    buffer = io.BytesIO()
    if image.size == (request.width, request.height):
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut the largest centered part with the shape of `size`. A part smaller than `size` is enlarged to it."""
    width, height = size
    if width >= image.width or height >= image.height:
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    box_width = min(image.width, _as_odd_as(image.width, image.height * width / height))
    box_height = min(image.height, _as_odd_as(image.height, image.width * height / width))
    left, top = (image.width - box_width) // 2, (image.height - box_height) // 2
    box = (left, top, left + box_width, top + box_height)
    if max(box_width, box_height) <= MAX_KEPT_SIDE:
        return image.crop(box)
    scale = MAX_KEPT_SIDE / max(box_width, box_height)
    kept = (max(width, round(box_width * scale)), max(height, round(box_height * scale)))
    return image.resize(kept, Image.Resampling.LANCZOS, box=box)


def _as_odd_as(side: int, least: float) -> int:
    """Return the smallest integer >= `least` with the parity of `side`, so that the cut is exactly centered."""
    rounded = math.ceil(least)
    return rounded + (side - rounded) % 2


def _padded_size(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return `size`, scaled up so far that an image of `shape` fills it at its own resolution."""
    scale = max(shape[0] / size[0], shape[1] / size[1])
    scale = min(scale, MAX_KEPT_SIDE / max(size))
    return (round(size[0] * scale), round(size[1] * scale)) if scale > 1 else size


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = (
        min(size[0], max(1, round(image.width * scale))),
        min(size[1], max(1, round(image.height * scale))),
    )
    padded = Image.new("RGB", size, BARS)
    corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    padded.paste(image if image.size == inner else image.resize(inner, Image.Resampling.LANCZOS), corner)
    return padded


def _matching_size(image: Image.Image, request: VideoRequest, limits: RequestLimits) -> tuple[int, int]:
    """Return the width and height that are nearest to the shape of the image and to the requested number of pixels."""
    sides = range(SIDE_MULTIPLE, limits.max_side_px + 1, SIDE_MULTIPLE)
    most = max(limits.max_total_pixels // request.num_frames, SIDE_MULTIPLE**2)
    sizes = [(width, height) for width in sides for height in sides if width * height <= most]
    shape = math.log(image.width / image.height)
    pixels = math.log(request.width * request.height)

    def distance(size: tuple[int, int]) -> float:
        width, height = map(math.log, size)
        return (width - height - shape) ** 2 + PIXELS_WEIGHT * (width + height - pixels) ** 2

    return min(sizes, key=distance)

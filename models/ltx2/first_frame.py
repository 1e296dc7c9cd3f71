"""Prepares the first frame: compressed as in the model's training, then resized to the video's size.

Lightricks' pipelines compress the image at its own size and shrink it afterwards, which removes most of the block
artifacts. diffusers does the same with its input image, but its resize does not keep the aspect ratio.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ALREADY_COMPRESSED = 0
"""The CRF that makes diffusers skip its own compression."""


def image_arguments(image: "Image", width: int, height: int, text_encoder: Any) -> dict[str, Any]:
    """The image arguments for diffusers: RGB, compressed with the CRF of the model's family, of the video's size.

    `image` is RGB of about the video's aspect ratio, and at least of its size. One of exactly its size is only
    compressed.
    """
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf, resolve_default_image_crf
    from PIL import Image, ImageOps

    compressed = apply_image_conditioning_crf(np.asarray(image), resolve_default_image_crf(text_encoder))
    fitted = ImageOps.fit(Image.fromarray(compressed), (width, height), Image.Resampling.LANCZOS)
    return {"image": fitted, "image_crf": ALREADY_COMPRESSED}

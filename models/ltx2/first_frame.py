"""Prepares the first frame: compressed as in the model's training, then resized to the video's size.

Lightricks' pipelines compress at the image's own size and shrink it afterwards, so that the shrinking takes most of the
blocks away. diffusers does the same with what it is given, but brings it to the size without keeping its shape.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ALREADY_COMPRESSED = 0
"""What diffusers is told for an image that it is not to compress again."""


def image_arguments(image: "Image", width: int, height: int, text_encoder: Any) -> dict[str, Any]:
    """The image in diffusers' words: RGB, compressed with the CRF of the model's family, of exactly the video's size.

    `image` is RGB of about the video's shape, and at least of its size. One of exactly its size is only compressed.
    """
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf, resolve_default_image_crf
    from PIL import Image, ImageOps

    compressed = apply_image_conditioning_crf(np.asarray(image), resolve_default_image_crf(text_encoder))
    fitted = ImageOps.fit(Image.fromarray(compressed), (width, height), Image.Resampling.LANCZOS)
    return {"image": fitted, "image_crf": ALREADY_COMPRESSED}

"""Reads the image of a request: from the bytes that a client sent to RGB.

It refuses an unusable image with the reason, before the image costs memory. Safe to call from several threads.
"""

from PIL import Image

from deployments.ingress.images.child_process import IN_CHILD_PROCESS, decode_in_child
from deployments.ingress.images.decoding import Bounds, decode
from deployments.ingress.images.formats import TAKEN, find_format, refuse
from models.errors import ImageTooLarge
from models.request.json_words import Described
from models.request.request import RequestLimits

LEAST_SIDE = 2304
"""The pixels that the shorter side of a larger image keeps. A photo of 12 megapixels is not shrunk, 48 are halved."""


def read_image(data: bytes, limits: RequestLimits) -> Image.Image:
    """Decode an image to upright RGB in sRGB. Takes the first frame of an animation.

    The result may be smaller than the file's image. Its shorter side keeps at least LEAST_SIDE and
    `limits.max_side_px` pixels if it had them. Transparent parts become white.

    Raises ImageTooLarge for too many bytes, and InvalidRequest for anything else.
    """
    if not data:
        refuse("a file of 0 bytes", f"a {TAKEN} file")
    if len(data) > limits.max_image_bytes:
        given, allowed = f"a file of {len(data)} bytes", f"a file of at most {limits.max_image_bytes} bytes"
        raise ImageTooLarge("image", Described(given), allowed)
    kind = find_format(data)
    if kind is None:
        refuse(f"a file of {len(data)} bytes in another format", f"a {TAKEN} file")
    bounds = Bounds(limits.max_image_pixels, limits.max_decode_bytes, max(LEAST_SIDE, limits.max_side_px))
    return decode_in_child(data, kind, bounds) if kind in IN_CHILD_PROCESS else decode(data, kind, bounds)

"""Reads the image of a request: from the client's bytes to RGB.

An unacceptable image is rejected with the reason before it costs memory. Safe to call from several threads.
"""

from PIL import Image

from deployments.ingress.images.child_process import IN_CHILD_PROCESS, decode_in_child
from deployments.ingress.images.decoding import Bounds, decode
from deployments.ingress.images.formats import TAKEN, find_format, refuse
from models.errors import ImageTooLarge
from models.request.json_words import Described
from models.request.request import RequestLimits

LEAST_SIDE = 2304
"""Minimum length in pixels of the shorter side of a shrunk image. 12 megapixels stay whole, 48 are halved per side."""


def read_image(data: bytes, limits: RequestLimits) -> Image.Image:
    """Decode an image: RGB in sRGB, upright, the first frame of an animation.

    A large image may be shrunk. Its shorter side keeps at least LEAST_SIDE and at least `limits.max_side_px` pixels.
    Transparent parts become white. Raises ImageTooLarge for too many bytes, and InvalidRequest for any other reason.
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

"""The input file of a task: the images that were given, with their places. One file, so that it is written atomically.

A whole first image alone is stored as it is. Otherwise the file is a ZIP archive: `places.json`, and the images by
their number.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from models.request.places import FIRST_WHOLE, Place, is_first_image_alone

ZIP = b"PK\x03\x04"
"""How a ZIP archive begins, and no image."""
PLACES = "places.json"


@dataclass(frozen=True)
class InputImage:
    """The bytes of an image file, and its place in the video."""

    content: bytes
    place: Place = FIRST_WHOLE


def pack_images(images: Sequence[InputImage]) -> bytes:
    """The content of the input file. At least one image is needed."""
    if is_first_image_alone([each.place for each in images]):
        return images[0].content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # the images are compressed already
        places = [{"frame": each.place.frame, "strength": each.place.strength} for each in images]
        archive.writestr(PLACES, json.dumps(places))
        for number, each in enumerate(images):
            archive.writestr(str(number), each.content)
    return buffer.getvalue()


def unpack_images(content: bytes) -> tuple[InputImage, ...]:
    """The images in an input file."""
    if not content.startswith(ZIP):
        return (InputImage(content),)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        places = [Place(int(each["frame"]), float(each["strength"])) for each in json.loads(archive.read(PLACES))]
        return tuple(InputImage(archive.read(str(number)), place) for number, place in enumerate(places))

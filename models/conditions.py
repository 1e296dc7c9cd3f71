"""What is given of a video beside its text: images, each for one of its frames. Does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.request.places import FIRST, FIRST_WHOLE, Place

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Condition:
    """An image that is given for one frame. `image` is RGB of the video's aspect ratio, and at least of its size."""

    image: "Image"
    place: Place = FIRST_WHOLE


def first_frame(image: "Image | None") -> tuple[Condition, ...]:
    """The conditions of image-to-video: an image for the first frame, if there is one."""
    return () if image is None else (Condition(image),)


def plain_first_image(conditions: Sequence[Condition]) -> "Image | None":
    """The image, if exactly the first frame is given, with full strength: the image-to-video of diffusers."""
    if len(conditions) == 1 and conditions[0].place == FIRST_WHOLE:
        return conditions[0].image
    return None


def count_appended(places: Sequence[Place]) -> int:
    """The number of images whose tokens are appended to those of the video. Those of the first frame replace them."""
    return sum(place.frame != FIRST for place in places)

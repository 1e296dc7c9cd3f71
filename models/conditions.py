"""What is given of a video beside its text: images, each for one of its frames. Does not import torch."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.request.places import FIRST, FIRST_WHOLE, Place, is_first_image_alone

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
    return conditions[0].image if is_first_image_alone([each.place for each in conditions]) else None


@dataclass(frozen=True)
class GivenTokens:
    """What a render has to hold beside the tokens of a text-to-video.

    `own_timesteps`: each token has a timestep of its own. `appended_images`: the images whose tokens are appended to
    those of the video.
    """

    own_timesteps: bool = False
    appended_images: int = 0


NOTHING_GIVEN = GivenTokens()


def tokens_of(places: Collection[Place]) -> GivenTokens:
    """The tokens of images at these places. Those of the first frame replace tokens of the video."""
    return GivenTokens(bool(places), sum(place.frame != FIRST for place in places))

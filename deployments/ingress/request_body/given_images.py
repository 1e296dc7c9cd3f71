"""The images of a request, and the fields that say where in the video they belong."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.request.places import IMAGE, Place, is_first_image_alone, parse_places
from models.request.request import VideoRequest


@dataclass(frozen=True)
class GivenImages:
    """The image files with the names of their fields, and the fields of their places, as the client sent them."""

    files: tuple[tuple[str, bytes], ...] = ()
    places: Mapping[str, object] = field(default_factory=dict)

    def parse_places(self, request: VideoRequest) -> tuple[Place, ...]:
        """The place of each file. Raises InvalidRequest."""
        return parse_places(self.places, request, [name for name, _ in self.files])

    def digest(self, request: VideoRequest) -> str:
        """Tells different images and places apart. That of a whole first image alone is the digest of its file."""
        digests = [hashlib.sha256(content).hexdigest() for _, content in self.files]
        places = self.parse_places(request)
        if is_first_image_alone(places):
            return digests[0]
        parts = zip(places, digests, strict=True)
        return " ".join(f"{place.frame} {place.strength} {digest}" for place, digest in parts)


NO_IMAGES = GivenImages()


def first_image(content: bytes | None) -> GivenImages:
    """An image for the first frame, if there is one."""
    return NO_IMAGES if content is None else GivenImages(((IMAGE, content),))

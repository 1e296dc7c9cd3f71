"""The images of a request, and the fields that say where in the video they belong."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.ingress.request_body.data_url import ImageUrl
from models.errors import ImageTooLarge
from models.request.json_words import Described
from models.request.places import IMAGES, PLACE_FIELDS, Place, is_first_image_alone, parse_places
from models.request.request import RequestLimits, VideoRequest


@dataclass(frozen=True)
class SentImage:
    """An image as the client sent it: a file, or its http(s) URL.

    `field` is the field of this server, one of IMAGES. `name` is the one that the client used.
    """

    field: str
    name: str
    content: bytes | ImageUrl


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
        digests = self._digests()
        places = self.parse_places(request)
        if is_first_image_alone(places):
            return digests[0]
        parts = zip(places, digests, strict=True)
        return " ".join(f"{place.frame} {place.strength} {digest}" for place, digest in parts)

    def digest_as_sent(self) -> str:
        """The same where the length of the video is not known yet: of the places as the client sent them."""
        named = [name for name, _ in self.files]
        return json.dumps([named, self._digests(), sorted(self.places.items())], default=str)

    def _digests(self) -> list[str]:
        return [hashlib.sha256(content).hexdigest() for _, content in self.files]


NO_IMAGES = GivenImages()


def in_order(images: Sequence[SentImage]) -> list[SentImage]:
    """The images in the order of their fields: the first one decides the size where `fit` is match."""
    return sorted(images, key=lambda image: IMAGES.index(image.field))


def take_places(fields: dict[str, object]) -> dict[str, object]:
    """Remove the fields of the places, and return them."""
    return {name: fields.pop(name) for name in PLACE_FIELDS if name in fields}


def max_images_bytes(limits: RequestLimits) -> int:
    """The bound of all images of a request. Base64 needs 4 bytes for 3, and line breaks or escapes need more."""
    return limits.max_image_bytes * 3 // 2


def check_total(name: str, contents: Sequence[bytes], limits: RequestLimits) -> None:
    """Refuse the last image, which came under `name`, if all have too many bytes together. Raises ImageTooLarge."""
    total, most = sum(map(len, contents)), max_images_bytes(limits)
    if total > most:
        given = Described(f"an image that makes {total} bytes with the others")
        raise ImageTooLarge(name, given, f"small enough that all images have at most {most} bytes together")

"""Fits all images of a request to its video."""

from dataclasses import dataclass

from deployments.ingress.concurrency.thread_pool import ThreadPool
from deployments.ingress.images.decoder_pool import DECODER_POOL
from deployments.ingress.request_body.given_images import GivenImages
from models.errors import InvalidRequest
from models.request.enums import ImageFit
from models.request.json_words import Described
from models.request.places import IMAGE, Place
from models.request.request import RequestLimits, VideoRequest
from storage.inputs import InputImage


@dataclass(frozen=True)
class FittedImages:
    """The image files that the task keeps, and the size of its video."""

    height: int
    width: int
    images: tuple[InputImage, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """The place of each image."""
        return tuple(each.place for each in self.images)

    def sized(self, request: VideoRequest) -> VideoRequest:
        """The request with the size of the video. A size that stays does not count as one that the client chose."""
        if (self.height, self.width) == (request.height, request.width):
            return request
        return request.model_copy(update={"height": self.height, "width": self.width})


async def fit_images(
    threads: ThreadPool, given: GivenImages, request: VideoRequest, limits: RequestLimits
) -> FittedImages:
    """Decode the images and fit them to the video, each in a turn of its own: others' images come between them.

    With `fit: match`, the first image decides the size, and the others are cropped to its shape. Raises InvalidRequest
    under the name of the image's field.
    """
    images: list[InputImage] = []
    sized = request
    for (name, content), place in zip(given.files, given.parse_places(request), strict=True):
        try:
            fitted = await threads.run(DECODER_POOL.fit, content, sized, limits)
        except InvalidRequest as error:
            raise _renamed(error, name) from None
        if not images:
            request = sized = fitted.request
            if request.fit is ImageFit.MATCH:
                sized = request.model_copy(update={"fit": ImageFit.CROP})
        images.append(InputImage(fitted.content, place))
    return FittedImages(request.height, request.width, tuple(images))


def _renamed(error: InvalidRequest, name: str) -> InvalidRequest:
    """The same error under the name of another image field."""
    return type(error)(name, Described(error.given), error.allowed) if error.field == IMAGE else error

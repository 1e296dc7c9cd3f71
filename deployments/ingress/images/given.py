"""Fits all images of a request to its video."""

from deployments.ingress.images.decoder_pool import DECODER_POOL
from deployments.ingress.request_body.given_images import GivenImages
from models.errors import InvalidRequest
from models.request.enums import ImageFit
from models.request.json_words import Described
from models.request.places import IMAGE
from models.request.request import RequestLimits, VideoRequest
from storage.inputs import InputImage


def fit_images(
    given: GivenImages, request: VideoRequest, limits: RequestLimits
) -> tuple[VideoRequest, list[InputImage]]:
    """Fit the images, and return them with the request of the video's size. Blocks while they are decoded.

    With `fit: match`, the first image decides the size, and the others are cropped to its shape. Raises InvalidRequest
    under the name of the image's field.
    """
    images: list[InputImage] = []
    sized = request
    for (name, content), place in zip(given.files, given.parse_places(request), strict=True):
        try:
            fitted = DECODER_POOL.fit(content, sized, limits)
        except InvalidRequest as error:
            raise _renamed(error, name) from None
        if not images:
            request = sized = fitted.request
            if request.fit is ImageFit.MATCH:
                sized = request.model_copy(update={"fit": ImageFit.CROP})
        images.append(InputImage(fitted.content, place))
    return request, images


def _renamed(error: InvalidRequest, name: str) -> InvalidRequest:
    """The same error under the name of another image field."""
    return type(error)(name, Described(error.given), error.allowed) if error.field == IMAGE else error

"""The image of an image-to-video request: from the bytes that a client sent to what its task keeps."""

from deployments.ingress.images.fitting import encode_input, fit_image
from deployments.ingress.images.reading import read_image

__all__ = ("encode_input", "fit_image", "read_image")

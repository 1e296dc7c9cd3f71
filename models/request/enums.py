"""The parameters of a video that are one of several words."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class ImageFit(StrEnum):
    """How a picture of another shape is brought to the size of the video."""

    CROP = "crop"
    """Fill the size and cut what stands over, from the centre."""
    PAD = "pad"
    """Show all of the picture, with black bars."""
    MATCH = "match"
    """Choose the size nearest to the picture's own shape, with about as many pixels as were asked for."""


class DurationMode(StrEnum):
    """Who says how long the video is."""

    EXACT = "exact"
    """The request: it has `num_frames`."""
    AUTO = "auto"
    """The model, from the prompt: `num_frames` at most."""


class Quality(StrEnum):
    """How much of the model's work may be left out."""

    EXACT = "exact"
    """Nothing that shows: what diffusers makes."""
    FAST = "fast"
    """Guidance on a part of the steps: nearly the same video, sooner."""


CHOICES: Mapping[str, type[StrEnum]] = MappingProxyType({"fit": ImageFit, "length": DurationMode, "quality": Quality})
"""These words, by the name of the parameter."""

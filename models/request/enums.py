"""The enum parameters of a video request."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class ImageFit(StrEnum):
    """How an image of another aspect ratio is fitted to the size of the video."""

    CROP = "crop"
    """Fill the size and crop what exceeds it, centered."""
    PAD = "pad"
    """Show the whole image, with black bars."""
    MATCH = "match"
    """Choose the size nearest to the image's own aspect ratio, with about the requested number of pixels."""


class DurationMode(StrEnum):
    """Who decides the length of the video."""

    EXACT = "exact"
    """The request: it has exactly `num_frames` frames."""
    AUTO = "auto"
    """The model, from the prompt: at most `num_frames` frames."""


class Quality(StrEnum):
    """How much of the model's work may be skipped."""

    EXACT = "exact"
    """Nothing that affects the video: what diffusers makes."""
    FAST = "fast"
    """Guidance on only some of the steps: nearly the same video, faster."""


class Upscale(StrEnum):
    """Whether a video is rendered small first, and then at its full size."""

    NONE = "none"
    """In one stage, at full size."""
    TWICE = "2"
    """In two stages: at half the height and width, and then refined at twice that."""


class Control(StrEnum):
    """What the control video of an IC-LoRA shows."""

    DEPTH = "depth"
    """How far away things are: near is light."""
    CANNY = "canny"
    """Edges, white on black."""
    POSE = "pose"
    """Skeletons of people."""
    DETAILER = "detailer"
    """The video itself, which gets more detail."""
    OTHER = "other"
    """Something else, or any of several."""


class Preprocessor(StrEnum):
    """What the server makes of a control video before it is used."""

    NONE = "none"
    """Nothing: it is a control video already."""
    CANNY = "canny"
    """Its edges."""


CHOICES: Mapping[str, type[StrEnum]] = MappingProxyType(
    {"fit": ImageFit, "length": DurationMode, "quality": Quality, "upscale": Upscale}
)
"""The enum of each such parameter."""

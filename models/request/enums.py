"""The enum parameters of a video request."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from models.request.request import RequestLimits, VideoRequest


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


CHOICES: Mapping[str, type[StrEnum]] = MappingProxyType({"fit": ImageFit, "length": DurationMode, "quality": Quality})
"""The enum of each such parameter."""


def request_schema(limits: RequestLimits, defaults: Mapping[str, float] = MappingProxyType({})) -> dict[str, Any]:
    """The JSON schema of VideoRequest with the bounds of this server and the `defaults` of its model, for OpenAPI."""
    schema = VideoRequest.model_json_schema()
    del schema["$defs"]
    for name, words in CHOICES.items():
        schema["properties"][name] |= {"type": "string", "enum": list(words)}
        del schema["properties"][name]["$ref"]
    for name, (low, high) in limits.bounds().items():
        target = schema["properties"][name]
        for option in target.get("anyOf", [target]):
            if option.get("type") in ("integer", "number"):
                for name_of_pydantic in (
                    "ge",
                    "gt",
                    "exclusiveMinimum",
                ):  # pydantic keeps its own names for a field with a BeforeValidator
                    option.pop(name_of_pydantic, None)
                option.update(minimum=low, maximum=high)
                if multiple := option.pop("multiple_of", None):
                    option["multipleOf"] = multiple
    for name, default in defaults.items():
        schema["properties"][name]["default"] = default
    schema["properties"]["prompt"]["maxLength"] = limits.max_prompt_chars
    schema["properties"]["negative_prompt"]["maxLength"] = limits.max_prompt_chars
    return schema

"""The bodies of requests for OpenAPI, a form or JSON. What /docs offers to send is taken as it stands."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

EXAMPLE: Mapping[str, object] = MappingProxyType(
    {
        "prompt": "A wide shot of a sunset over the ocean. Waves roll in, gulls cry.",
        "height": 512,
        "width": 768,
        "num_frames": 121,
        "num_inference_steps": 40,
        "seed": 42,
    }
)
EXAMPLE_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8USHCgA0wMeAAg1MCAA7DAWSC5T4U"
    "AAAAAElFTkSuQmCC"
)
LEFT_EMPTY = ("timeout_s", "webhook_url")
"""Swagger UI fills a form with whatever a schema allows: a deadline of a second, a url that is none."""


def json_body(schema: Mapping[str, Any], example: Mapping[str, object] = EXAMPLE) -> dict[str, Any]:
    """A JSON object, by its media type."""
    return {"application/json": {"schema": _untitled(schema), "example": dict(example)}}


def json_image_body(
    schema: Mapping[str, Any],
    image: str,
    description: str,
    *,
    required: bool = False,
    example: Mapping[str, object] = EXAMPLE,
) -> dict[str, Any]:
    """A JSON object of the same fields and an image as a data url."""
    as_text = {"type": "string", "description": f"{description} As a data url: `data:image/jpeg;base64,...`."}
    with_image = _with(schema, image, as_text, required=required)
    shown = {**example, image: EXAMPLE_IMAGE} if required else example
    return json_body(with_image, shown)


def form_body(
    schema: Mapping[str, Any],
    image: str,
    description: str,
    *,
    required: bool = False,
    example: Mapping[str, object] = EXAMPLE,
) -> dict[str, Any]:
    """A form of the same fields and a file named `image`, by its media type."""
    as_file = {"type": "string", "format": "binary", "description": description}
    form = _untitled(_with(schema, image, as_file, required=required))
    for name in LEFT_EMPTY:
        form["properties"][name] = {**form["properties"][name], "examples": [""]}
    return {"multipart/form-data": {"schema": form, "example": dict(example)}}


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Several routes have the same body: a generated client names its class by the route, and not twice alike."""
    return {name: value for name, value in schema.items() if name != "title"}


def _with(schema: Mapping[str, Any], name: str, its_schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """The schema of an object with one more property."""
    needed = [*schema["required"], name] if required else schema["required"]
    return {**schema, "properties": {**schema["properties"], name: its_schema}, "required": needed}

"""OpenAPI request bodies: form and JSON. The examples can be sent from /docs unchanged."""

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
"""Form fields left empty in /docs. Swagger UI would fill them from the schema: a deadline of 1 s, an invalid URL."""


def json_body(schema: Mapping[str, Any], example: Mapping[str, object] = EXAMPLE) -> dict[str, Any]:
    """Return the schema of a JSON body, by its media type."""
    return {"application/json": {"schema": _untitled(schema), "example": dict(example)}}


def json_image_body(
    schema: Mapping[str, Any],
    image: str,
    description: str,
    *,
    required: bool = False,
    example: Mapping[str, object] = EXAMPLE,
) -> dict[str, Any]:
    """Return the schema of a JSON body with the same fields and an image as a data URL."""
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
    """Return the schema of a form with the same fields and a file `image`, by its media type."""
    as_file = {"type": "string", "format": "binary", "description": description}
    form = _untitled(_with(schema, image, as_file, required=required))
    for name in LEFT_EMPTY:
        form["properties"][name] = {**form["properties"][name], "examples": [""]}
    return {"multipart/form-data": {"schema": form, "example": dict(example)}}


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the title: several routes share the body, and a generated client must name its class by the route."""
    return {name: value for name, value in schema.items() if name != "title"}


def _with(schema: Mapping[str, Any], name: str, its_schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """Return an object schema with one more property."""
    needed = [*schema["required"], name] if required else schema["required"]
    return {**schema, "properties": {**schema["properties"], name: its_schema}, "required": needed}

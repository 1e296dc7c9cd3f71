"""Describes request bodies for OpenAPI, as a form or JSON. The server accepts the examples in /docs unchanged."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from models.request.loras import CAMERA_MOTION, LORAS, X_LORAS, X_MAX

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
LEFT_EMPTY = ("timeout_s", "webhook_url", CAMERA_MOTION)
"""Fields with an empty example. Swagger UI would otherwise fill in a deadline of one second and an invalid URL."""


def json_body(schema: Mapping[str, Any], example: Mapping[str, object] = EXAMPLE) -> dict[str, Any]:
    """Return the media type and schema of a JSON object."""
    return {"application/json": {"schema": _untitled(schema), "example": dict(example)}}


def form_body(
    schema: Mapping[str, Any],
    image: str,
    description: str,
    *,
    required: bool = False,
    example: Mapping[str, object] = EXAMPLE,
) -> dict[str, Any]:
    """Return the media type and schema of a form with the same fields and a file named `image`."""
    as_file = {"type": "string", "format": "binary", "description": description}
    form = _untitled(_with(schema, image, as_file, required=required))
    if LORAS in form["properties"]:
        loras = form["properties"][LORAS]
        kept = {name: loras[name] for name in ("description", X_LORAS, X_MAX) if name in loras}
        form["properties"][LORAS] = {"type": "string", **kept, "examples": [""]}
    for name in LEFT_EMPTY:
        form["properties"][name] = {**form["properties"][name], "examples": [""]}
    return {"multipart/form-data": {"schema": form, "example": dict(example)}}


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the title. Several routes share the body, and generated clients then name its class after the route."""
    return {name: value for name, value in schema.items() if name != "title"}


def _with(schema: Mapping[str, Any], name: str, its_schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """Return the schema of an object with one more property."""
    needed = [*schema["required"], name] if required else schema["required"]
    return {**schema, "properties": {**schema["properties"], name: its_schema}, "required": needed}

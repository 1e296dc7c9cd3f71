"""The bodies of requests for OpenAPI, JSON or a form. What /docs offers to send is taken as it stands."""

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
LEFT_EMPTY = ("timeout_s", "webhook_url")
"""Swagger UI fills a form with whatever a schema allows: a deadline of a second, a url that is none."""


def json_body(schema: Mapping[str, Any], example: Mapping[str, object] = EXAMPLE) -> dict[str, Any]:
    """A JSON object, by its media type."""
    return {"application/json": {"schema": dict(schema), "example": dict(example)}}


def form_body(
    schema: Mapping[str, Any],
    picture: str,
    description: str,
    *,
    required: bool = False,
    example: Mapping[str, object] = EXAMPLE,
) -> dict[str, Any]:
    """A form of the same fields and a file named `picture`, by its media type."""
    properties = {**schema["properties"], picture: {"type": "string", "format": "binary", "description": description}}
    for name in LEFT_EMPTY:
        properties[name] = {**properties[name], "examples": [""]}
    needed = [*schema["required"], picture] if required else schema["required"]
    form = {**schema, "properties": properties, "required": needed}
    return {"multipart/form-data": {"schema": form, "example": dict(example)}}

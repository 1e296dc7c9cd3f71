"""Describes the images of a request for OpenAPI, as a form or JSON, with the fields of their places."""

from collections.abc import Mapping
from typing import Any

from deployments.ingress.request_body.openapi import EXAMPLE, EXAMPLE_IMAGE, form_body, json_body
from models.request.places import END_IMAGE, IMAGE, KEYFRAME, KEYFRAME_AT, MAX_KEYFRAMES, STRENGTH_OF

DATA_URL = "As a data url: `data:image/jpeg;base64,...`."
FILE = {"type": "string", "format": "binary"}
MEANING = {
    IMAGE: "Becomes the first frame. May be left out if there is an `end_image` or a `keyframe`.",
    END_IMAGE: "Becomes the last frame that is kept.",
    KEYFRAME: f"Becomes the frame at its `{KEYFRAME_AT}`. May be repeated, up to {MAX_KEYFRAMES} times.",
}
AT = (
    "The place of each `keyframe`, in the same order: a frame (0 is the first, -1 the last), or seconds such as `1.5s`."
)
STRENGTH = "How strongly `{name}` is given: 1 keeps it as it is."


def images_body(schema: Mapping[str, Any], taken: str, *, with_example: bool = False) -> dict[str, Any]:
    """Return the media types and schemas of a form and of JSON with the fields of `schema` and images.

    `taken` tells which files are images. `with_example`: the example in JSON has an image.
    """
    form = form_body(with_places(schema), IMAGE, f"{MEANING[IMAGE]} {taken}")
    form["multipart/form-data"]["schema"]["properties"] |= describe_images(FILE, taken)
    json_schema = with_places(schema)
    json_schema["properties"] |= describe_images({"type": "string"}, f"{taken} {DATA_URL}")
    example = {**EXAMPLE, IMAGE: EXAMPLE_IMAGE} if with_example else EXAMPLE
    return form | json_body(json_schema, example)


def describe_images(kind: Mapping[str, Any], taken: str) -> dict[str, Any]:
    """The properties of the images: of both ends, and a list of keyframes. `kind` is the schema of one image."""
    described = {name: {**kind, "description": f"{meaning} {taken}"} for name, meaning in MEANING.items()}
    keyframes = {"type": "array", "maxItems": MAX_KEYFRAMES, "items": dict(kind)}
    return {**described, KEYFRAME: {**keyframes, "description": described[KEYFRAME]["description"]}}


def with_places(schema: Mapping[str, Any], first: str = IMAGE) -> dict[str, Any]:
    """The schema with the fields of the places. `first` is the name of the first image."""
    return {**schema, "properties": {**schema["properties"], **place_fields(first)}}


def place_fields(first: str = IMAGE) -> dict[str, Any]:
    """The properties of the places. `first` is the name of the first image."""
    strength = {"type": "number", "minimum": 0, "maximum": 1, "default": 1}
    added: dict[str, Any] = {
        field: {**strength, "description": STRENGTH.format(name=first if name == IMAGE else name)}
        for name, field in STRENGTH_OF.items()
        if name != KEYFRAME
    }
    added[KEYFRAME_AT] = {
        "type": "array",
        "items": {"anyOf": [{"type": "integer", "minimum": -1}, {"type": "string"}]},
        "maxItems": MAX_KEYFRAMES,
        "description": AT,
    }
    added[STRENGTH_OF[KEYFRAME]] = {
        "type": "array",
        "items": {name: value for name, value in strength.items() if name != "default"},
        "maxItems": MAX_KEYFRAMES,
        "description": f"{STRENGTH.format(name='each keyframe')} Left out: 1 for all.",
    }
    return added

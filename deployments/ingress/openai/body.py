"""Describes the body of the create routes for OpenAPI: a form with an optional image, or JSON with the image's url."""

from typing import Any

from deployments.ingress.dimensions import SIZE
from deployments.ingress.model_names import ModelNames
from deployments.ingress.openai.mapping import EXACT_WORDS, EXTRA_BODY, EXTRA_PARAMS, IMAGE, ONE_VIDEO, RENAMED_EXTRA
from deployments.ingress.request_body.given_media import OF_THE_VIDEO
from deployments.ingress.request_body.image_fields import FILE, describe_images, with_places
from deployments.ingress.request_body.media_fields import change_fields
from deployments.ingress.request_body.openapi import form_body, json_body
from models.request.json_schema import request_schema
from models.request.places import KEYFRAME_AT, OTHER_IMAGES, STRENGTH_OF
from models.request.request import SIDE_MULTIPLE, RequestLimits

EXAMPLE = {"prompt": "The camera slowly pushes in while the waves roll on.", "size": "1280x720", "seconds": "4"}
REMIX_EXAMPLE = {"prompt": "The same waves at night, under the moon."}
REFERENCE = "An image that becomes the first frame, as a data url (`data:image/jpeg;base64,...`) or an http(s) url."
IMAGE_OBJECT = {"type": "object", "properties": {"image_url": {"type": "string"}}, "required": ["image_url"]}
JSON_IMAGE = {"anyOf": [{"type": "string"}, IMAGE_OBJECT]}
TAKEN = "As `input_reference` is given."


def create_body(names: ModelNames, limits: RequestLimits) -> dict[str, Any]:
    """The request body of a create route. JSON stands last, because some importers read only the last content type."""
    schema = request_schema(limits)
    properties = schema["properties"] | _further_properties(names, limits)
    for side in ("width", "height"):
        properties[side] = {**properties[side], "description": "Rounded as the sides of `size` are."}
        del properties[side]["multipleOf"]
    quality = properties["quality"]
    properties["quality"] = {
        **quality,
        "enum": [*quality["enum"], *EXACT_WORDS],
        "description": f"{quality['description']} OpenAI's words mean exact.",
    }
    form_schema, json_schema = (with_places({**schema, "properties": properties}, IMAGE) for _ in range(2))
    extra = f"vLLM-Omni's: an object of {', '.join(f'`{name}`' for name in RENAMED_EXTRA)}."
    merged = "SGLang's: an object of further fields of this body."
    for name, description in ((EXTRA_PARAMS, extra), (EXTRA_BODY, merged)):
        form_schema["properties"][name] = {"type": "string", "description": f"{description} As JSON text."}
        json_schema["properties"][name] = {"type": "object", "description": description}
    json_schema["properties"][EXTRA_PARAMS]["additionalProperties"] = {"type": "number"}
    for content, kind in ((form_schema, FILE), (json_schema, JSON_IMAGE)):
        described = describe_images(kind, TAKEN)
        content["properties"] |= {name: described[name] for name in OTHER_IMAGES}
    json_schema["properties"][IMAGE] = {**JSON_IMAGE, "description": REFERENCE}
    form = form_body(form_schema, IMAGE, "An image that becomes the first frame.", example=EXAMPLE)
    return {"required": True, "content": form | json_body(json_schema, EXAMPLE)}


def remix_body(names: ModelNames, limits: RequestLimits) -> dict[str, Any]:
    """The request body of a remix: the fields of a create that do not follow from the video, and those of a change."""
    schema = create_body(names, limits)["content"]["application/json"]["schema"]
    images = {IMAGE, *OTHER_IMAGES, KEYFRAME_AT, *STRENGTH_OF.values()}
    left_out = {*OF_THE_VIDEO, "size", "seconds", "fps", *images}
    kept = {name: each for name, each in schema["properties"].items() if name not in left_out}
    content = json_body({**schema, "properties": kept | change_fields()}, REMIX_EXAMPLE)
    return {"required": True, "content": content}


def _further_properties(names: ModelNames, limits: RequestLimits) -> dict[str, Any]:
    """The fields that this API has beyond those of the native routes."""
    scale = {"type": "number", "minimum": 0, "maximum": limits.max_guidance_scale}
    rate = {"type": "number", "minimum": limits.min_frame_rate, "maximum": limits.max_frame_rate}
    return {
        "model": {
            "type": "string",
            "enum": list(names.listed),
            "description": f"{names.served} is served, also under its aliases; may be left out.",
        },
        "size": {
            "type": "string",
            "pattern": f"^{SIZE.pattern}$",
            "description": f"WIDTHxHEIGHT; each side is rounded to the nearest multiple of {SIDE_MULTIPLE}.",
        },
        "seconds": {
            "anyOf": [{"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,3})?$"}, {"type": "number"}],
            "description": "Duration in seconds. If both are given, `num_frames` is used.",
        },
        "fps": {**rate, "description": "vLLM-Omni's and SGLang's name for `frame_rate`."},
        "guidance_scale": {
            **scale,
            "description": "vLLM-Omni's and SGLang's name for `cfg_scale_video` and `cfg_scale_audio`.",
        },
        **{name: {"type": "integer", "enum": [1], "description": "One video for each request."} for name in ONE_VIDEO},
    }

"""Describes the bodies of the create routes for OpenAPI."""

from typing import Any

from deployments.ingress.dimensions import SIZE
from deployments.ingress.ltx_api.mapping import CAMERA_MOTIONS, DEFAULT_FPS, IMAGE, LAST_FRAME, OWN_FIELDS, RequestRules
from deployments.ingress.model_names import FIELD as MODEL
from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE, json_body
from deployments.ingress.submission import IDEMPOTENCY_PARAMETER
from models.request.json_schema import request_schema
from models.request.request import SIDE_MULTIPLE

EXAMPLE = {
    "prompt": "The camera slowly pushes in while the waves roll on.",
    "model": "ltx-2-3-fast",
    "duration": 6,
    "resolution": "1280x720",
}
REQUIRED = ("prompt", MODEL, "duration", "resolution")


def create_body(rules: RequestRules, *, with_image: bool) -> dict[str, Any]:
    """The parameters and the body of a create route."""
    properties = _properties(rules)
    required, example = [*REQUIRED], {**EXAMPLE, MODEL: rules.models.listed[-1]}
    if with_image:
        for name, frame in ((IMAGE, "first"), (LAST_FRAME, "last")):
            about = f"The {frame} frame: a `storage_uri` of /v1/upload, an http(s) url, or a data url."
            properties[name] = {"type": "string", "description": about}
        required, example = [*required, IMAGE], {**example, IMAGE: EXAMPLE_IMAGE}
    else:
        del properties["fit"]
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "parameters": [IDEMPOTENCY_PARAMETER],
        "requestBody": {"required": True, "content": json_body(schema, example)},
    }


def _properties(rules: RequestRules) -> dict[str, Any]:
    """The fields of this API, and after them those of this server."""
    own, limits = request_schema(rules.limits)["properties"], rules.limits
    fields = {name: own[name] for name in OWN_FIELDS}
    return {
        "prompt": fields.pop("prompt"),
        MODEL: {
            "type": "string",
            "enum": list(rules.models.listed),
            "description": f"{rules.models.served} is served under each name. -fast asks for `quality` fast, -pro for "
            "exact.",
        },
        "duration": {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": limits.max_duration_s}, {"type": "null"}],
            "description": "Seconds. null: the model chooses (LTX-2.5).",
        },
        "resolution": {
            "type": "string",
            "pattern": f"^{SIZE.pattern}$",
            "description": f"WIDTHxHEIGHT; each side is rounded to the nearest multiple of {SIDE_MULTIPLE}.",
        },
        "fps": {
            "type": "number",
            "minimum": limits.min_frame_rate,
            "maximum": limits.max_frame_rate,
            "default": DEFAULT_FPS,
            "description": "Frames per second.",
        },
        "camera_motion": {
            "type": "string",
            "enum": list(CAMERA_MOTIONS),
            "description": "Adds a sentence to the prompt, or picks the LoRA of this name if the server has one.",
        },
        **fields,
        "seed": {**fields["seed"], "default": None},
    }

"""Maps the fields of the hosted LTX API's audio-to-video, retake and extend, and describes them for OpenAPI."""

from collections.abc import Mapping
from typing import Any

from deployments.ingress.dimensions import parse_size
from deployments.ingress.ltx_api.mapping import ENHANCE, IMAGE, MEANT_EMPTY, OWN_FIELDS, RequestRules, map_model
from deployments.ingress.model_names import FIELD as MODEL
from deployments.ingress.request_body.given_media import MediaUse
from deployments.ingress.request_body.media_fields import EXAMPLE_AUDIO
from deployments.ingress.request_body.openapi import json_body
from deployments.ingress.submission import IDEMPOTENCY_PARAMETER
from models.errors import InvalidRequest
from models.request.edits import DURATION, MODE, START_TIME, ExtendMode, RetakeMode
from models.request.enums import ImageFit
from models.request.json_schema import request_schema
from models.request.json_words import NOTHING
from models.request.loose_values import is_blank

URIS = {MediaUse.A2V: "audio_uri", MediaUse.RETAKE: "video_uri", MediaUse.EXTEND: "video_uri"}
"""The field that names the file."""
ENDPOINT_OF = {MediaUse.A2V: "audio-to-video", MediaUse.RETAKE: "retake", MediaUse.EXTEND: "extend"}
REQUIRED = {MediaUse.A2V: (), MediaUse.RETAKE: (START_TIME, DURATION), MediaUse.EXTEND: (DURATION,)}
"""Fields that this API requires, beside the file."""
AUDIO_FPS = 25
AUDIO_SIZE = "1920x1080"
PROMPTS = {
    MediaUse.A2V: "The scene of the image comes to life and follows the audio.",
    MediaUse.RETAKE: "The scene goes on as it is.",
    MediaUse.EXTEND: "The scene goes on.",
}
"""Stands for a missing prompt, which this API does not require."""
EXAMPLE_VIDEO = "https://example.com/clip.mp4"
EXAMPLES: Mapping[MediaUse, Mapping[str, object]] = {
    MediaUse.A2V: {
        "audio_uri": EXAMPLE_AUDIO,
        "resolution": "768x512",
        "prompt": "A singer on a stage.",
    },
    MediaUse.RETAKE: {"video_uri": EXAMPLE_VIDEO, START_TIME: 0, DURATION: 2, "prompt": "She smiles."},
    MediaUse.EXTEND: {"video_uri": EXAMPLE_VIDEO, DURATION: 4, "prompt": "The lights go out."},
}


def map_media(
    use: MediaUse, given: Mapping[str, object], rules: RequestRules
) -> tuple[dict[str, object], dict[str, object]]:
    """The fields as the native routes take them, and those of the use alone. Raises InvalidRequest."""
    given = {name: value for name, value in given.items() if name in MEANT_EMPTY or not is_blank(value)}
    for name in REQUIRED[use]:
        if is_blank(given.get(name)):
            raise InvalidRequest(name, NOTHING, "a number of seconds")
    fields: dict[str, object] = {"seed": None, **(map_model(given[MODEL], rules.models) if MODEL in given else {})}
    fields |= {name: given[name] for name in OWN_FIELDS if name in given}
    if is_blank(fields.get("prompt")) and (use is not MediaUse.A2V or IMAGE in given):
        fields["prompt"] = PROMPTS[use]
    if use is MediaUse.A2V:
        fields |= _map_audio(given, rules)
    if not rules.enhances_prompts:
        fields.pop(ENHANCE, None)
    return fields, {name: given[name] for name in use.fields if not is_blank(given.get(name))}


def _map_audio(given: Mapping[str, object], rules: RequestRules) -> dict[str, object]:
    """Size and rate. Without a resolution, the image decides on the shape."""
    size = parse_size("resolution", given.get("resolution", AUDIO_SIZE), rules.limits)
    shape = {"fit": ImageFit.MATCH.value} if IMAGE in given and "resolution" not in given else {}
    return {**size, **shape, "frame_rate": given.get("fps", AUDIO_FPS)}


def media_operation(use: MediaUse, rules: RequestRules) -> dict[str, Any]:
    """The parameters and the body of a create route, for OpenAPI."""
    own = request_schema(rules.limits)["properties"]
    about = f"The {use.file_field}: a `storage_uri` of /v1/upload, an http(s) url, or a data url."
    model = {"type": "string", "enum": list(rules.models.listed), "description": "Any of these; may be left out."}
    properties = {"prompt": own["prompt"], URIS[use]: {"type": "string", "description": about}, MODEL: model}
    schema = {
        "type": "object",
        "properties": {**properties, **_properties(use), "seed": {**own["seed"], "default": None}},
        "required": [URIS[use], *REQUIRED[use]],
    }
    body = {"required": True, "content": json_body(schema, dict(EXAMPLES[use]))}
    return {"parameters": [IDEMPOTENCY_PARAMETER], "requestBody": body}


def _properties(use: MediaUse) -> dict[str, Any]:
    seconds, text = {"type": "number", "minimum": 0}, {"type": "string"}
    match use:
        case MediaUse.A2V:
            size = {**text, "description": f"WIDTHxHEIGHT. Left out: the shape of the image, or {AUDIO_SIZE}."}
            return {IMAGE: {**text, "description": "The first frame."}, "resolution": size}
        case MediaUse.RETAKE:
            modes = {**text, "enum": [str(each) for each in RetakeMode]}
            return {START_TIME: seconds, DURATION: seconds, MODE: modes}
        case _:  # extend; this API has no video to video
            modes = {**text, "enum": [str(each) for each in ExtendMode]}
            return {DURATION: seconds, MODE: modes, "context": seconds}

"""Maps the fields of a request of the hosted LTX API to the fields of this server."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deployments.ingress.dimensions import DEFAULTS, count_frames, count_most_frames, describe_shapes, parse_size
from deployments.ingress.ltx_api.schemas import FIELD_NAMES
from deployments.ingress.model_names import FIELD as MODEL
from deployments.ingress.model_names import ModelNames
from models.errors import DoesNotFit, InvalidRequest
from models.request import places
from models.request.enums import DurationMode, Quality
from models.request.json_words import NOTHING
from models.request.loose_values import is_blank
from models.request.loras import CAMERA_MOTION
from models.request.request import TEXTS, RequestLimits, VideoRequest

IMAGE = "image_uri"
LAST_FRAME = "last_frame_uri"
IMAGES = {IMAGE: places.IMAGE, LAST_FRAME: places.END_IMAGE}
"""The fields of this API that name an image, and the image's name in a native request."""
ENHANCE = "enhance_prompt"
"""Clients of the hosted API send it to any server. Where no language model is set, it has no effect."""
DEFAULT_FPS = 24
QUALITIES = {"-fast": Quality.FAST, "-pro": Quality.EXACT}
"""The quality that the end of a model's name asks for."""
CAMERA_MOTIONS = {
    "dolly_in": "The camera moves slowly forward.",
    "dolly_out": "The camera moves slowly backward.",
    "dolly_left": "The camera moves slowly to the left.",
    "dolly_right": "The camera moves slowly to the right.",
    "jib_up": "The camera rises slowly.",
    "jib_down": "The camera sinks slowly.",
    "static": "The camera does not move.",
    "focus_shift": "The focus shifts between foreground and background.",
}
"""Values of `camera_motion`, each with the sentence that is added to the prompt."""
MEANT_EMPTY = (*TEXTS, "seed", "duration")
"""Fields whose empty value has a meaning. Every other empty field is treated as missing."""
NOT_OWN = ("length", CAMERA_MOTION)
"""Fields of this server that have another meaning in this API, or none."""
OWN_FIELDS = tuple(name for name in VideoRequest.model_fields if name not in FIELD_NAMES and name not in NOT_OWN)
"""Fields of this server that a request may also have."""


@dataclass(frozen=True)
class RequestRules:
    """What a request is checked against.

    `predicts_duration` tells whether the served model can choose the duration, `enhances_prompts` whether the server
    has a language model. `loras` are the names of its LoRAs.
    """

    models: ModelNames
    limits: RequestLimits
    predicts_duration: bool = False
    enhances_prompts: bool = False
    loras: Collection[str] = ()


def map_request(given: Mapping[str, object], rules: RequestRules) -> dict[str, object]:
    """Return the fields as the native routes take them. Passes over unknown fields. Raises InvalidRequest."""
    given = {name: value for name, value in given.items() if name in MEANT_EMPTY or not is_blank(value)}
    fields: dict[str, object] = {"seed": None, **map_model(given.get(MODEL, NOTHING), rules.models)}
    fields |= {name: given[name] for name in OWN_FIELDS if name in given}
    fields |= parse_size("resolution", given.get("resolution", NOTHING), rules.limits)
    fields["frame_rate"] = given.get("fps", DEFAULT_FPS)
    fields |= _map_duration(given.get("duration", NOTHING), fields, rules)
    _add_camera_motion(fields, given.get(CAMERA_MOTION), rules)
    if not rules.enhances_prompts:
        fields.pop(ENHANCE, None)
    return fields


def map_model(name: object, models: ModelNames) -> dict[str, object]:
    """The quality that the model's name asks for, if it asks for one."""
    models.check(name)
    for end, quality in QUALITIES.items():
        if str(name).lower().endswith(end):
            return {"quality": quality.value}
    return {}


def _map_duration(duration: object, fields: Mapping[str, object], rules: RequestRules) -> dict[str, object]:
    """The number of frames. With null, the model chooses it, if it can."""
    if duration is None and rules.predicts_duration:
        return {"length": DurationMode.AUTO.value, "num_frames": count_most_frames(fields, rules.limits)}
    return {"num_frames": count_frames("duration", duration, fields, rules.limits)}


def _add_camera_motion(fields: dict[str, object], motion: object, rules: RequestRules) -> None:
    """Ask for the LoRA of a camera motion, or add the sentence for the motion to the prompt."""
    if motion is None:
        return
    if not isinstance(motion, str) or motion not in CAMERA_MOTIONS:
        raise InvalidRequest(CAMERA_MOTION, motion, f"one of {', '.join(CAMERA_MOTIONS)}")
    if motion in rules.loras:
        fields[CAMERA_MOTION] = motion
        return
    prompt, sentence = fields.get("prompt"), f" {CAMERA_MOTIONS[motion]}"
    if not isinstance(prompt, str) or not prompt.strip():
        return  # a later check refuses it
    most = rules.limits.max_prompt_chars - len(sentence)
    if len(prompt) > most:
        raise InvalidRequest("prompt", prompt, f"a text of at most {most} characters with this camera_motion")
    fields["prompt"] = prompt + sentence


def explain_does_not_fit(error: DoesNotFit, given: Mapping[str, object], fields: Mapping[str, object]) -> DoesNotFit:
    """The same error with resolutions and durations, as the client sent them."""
    name = FIELD_NAMES.get(error.field, error.field)
    ways = describe_shapes(error.nearest, float(str(fields.get("frame_rate", DEFAULTS["frame_rate"]))))
    return DoesNotFit(name, given.get(name), f"what fits into the GPU's memory: {ways}", error.nearest)

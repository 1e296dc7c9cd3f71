"""Maps fields of OpenAI's and vLLM-Omni's video APIs to the fields of this server."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.ingress.request_body.openapi import form_body, json_body
from deployments.ingress.request_body.reading import ImageNames
from models.errors import InvalidRequest
from models.request.json_schema import request_schema
from models.request.request import SIDE_MULTIPLE, TEXTS, RequestLimits, VideoRequest

SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
IMAGE = "input_reference"
IMAGE_NAMES = ImageNames((IMAGE, f"{IMAGE}[image_url]", "image_reference"), (IMAGE, "image_reference"))
"""openai-node sends an object in a form under the second name. vLLM-Omni's clients send an object under the third."""
FILE_ID = f"{IMAGE}[file_id]"
NOT_SERVED = ("video_reference", "audio_reference")
RENAMED = {
    "fps": ("frame_rate",),
    "guidance_scale": ("cfg_scale_video", "cfg_scale_audio"),
}
"""Field names of vLLM-Omni, each with the fields of this server that it sets."""
EXTRA = "extra_params"
RENAMED_EXTRA = {
    "video_cfg_scale": "cfg_scale_video",
    "video_cfg_guidance_scale": "cfg_scale_video",
    "audio_cfg_scale": "cfg_scale_audio",
    "video_stg_scale": "stg_scale_video",
    "video_modality_scale": "modality_scale",
    "a2v_guidance_scale": "modality_scale",
}
"""Names inside `extra_params`, each with the field of this server that it sets."""
MEANT_EMPTY = (*TEXTS, "seed")
"""Fields whose empty value has a meaning. Every other empty field is treated as missing."""
DEFAULTS = {name: field.default for name, field in VideoRequest.model_fields.items()}


@dataclass(frozen=True)
class Translated:
    """The fields as the native routes take them.

    `names` maps a field of this server to the name that the client used, where the two differ.
    """

    fields: dict[str, object]
    names: dict[str, str]


def translate(fields: Mapping[str, object], model: str, limits: RequestLimits) -> Translated:
    """Replace OpenAI's and vLLM-Omni's names with this server's names.

    If the client also sends the field under this server's name, that value is used.
    Raises InvalidRequest for a model that is not served, an invalid `size`, `seconds` or `extra_params`, and an
    unsupported field.
    """
    fields = {name: value for name, value in fields.items() if name in MEANT_EMPTY or not _is_empty(value)}
    if (given := fields.pop("model", model)) != model:
        raise InvalidRequest("model", given, f"{model}, the one that is served")
    _refuse_what_is_not_served(fields)
    size, seconds = fields.pop("size", None), fields.pop("seconds", None)
    renamed, names = _rename(fields)
    own = {**renamed, **_extra(fields.pop(EXTRA, None), names), **fields}
    names = {name: theirs for name, theirs in names.items() if name not in fields}
    own = {**({} if size is None else _size(size, limits)), **own}
    for side in {"width", "height"} & own.keys():
        own[side] = _nearest_side(own[side], limits)
    if seconds is not None and "num_frames" not in own:
        own["num_frames"] = _frames(seconds, own, limits)
        names["num_frames"] = "seconds"
    return Translated(own, names)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _refuse_what_is_not_served(fields: Mapping[str, object]) -> None:
    for name in (*NOT_SERVED, FILE_ID):
        if name in fields:
            raise InvalidRequest(
                name, fields[name], "left out: this server accepts only an image, and stores no files for clients"
            )


def _rename(fields: dict[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Move fields with a name of vLLM-Omni out of `fields`. Returns them under this server's names."""
    renamed: dict[str, object] = {}
    names: dict[str, str] = {}
    for theirs, ours in RENAMED.items():
        if theirs in fields:
            renamed |= dict.fromkeys(ours, fields.pop(theirs))
            names |= dict.fromkeys(ours, theirs)
    return renamed, names


def _extra(given: object, names: dict[str, str]) -> dict[str, object]:
    """Parse `extra_params`: an object, or JSON text in a form.

    An unknown name stays in the result, so that the answer lists it as ignored.
    """
    if given is None:
        return {}
    try:
        extra = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, Mapping):
        raise InvalidRequest(EXTRA, given, "a JSON object")
    named = {RENAMED_EXTRA.get(name, f"{EXTRA}.{name}"): value for name, value in extra.items()}
    names |= {RENAMED_EXTRA[name]: f"{EXTRA}.{name}" for name in extra if name in RENAMED_EXTRA}
    return named


def _size(size: object, limits: RequestLimits) -> dict[str, object]:
    """Parse `size`, and round each side to the nearest multiple that a model can render."""
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    sides = [_round_side(int(side)) for side in found.groups()] if found else []
    if not sides or min(sides) < SIDE_MULTIPLE or max(sides) > limits.max_side_px:
        allowed = f"WIDTHxHEIGHT with sides from {SIDE_MULTIPLE} to {limits.max_side_px}, such as 1280x720"
        raise InvalidRequest("size", size, allowed)
    return {"width": sides[0], "height": sides[1]}


def _nearest_side(side: object, limits: RequestLimits) -> object:
    """Round a side to the nearest one that a model can render.

    An invalid side is returned as it is: a later check refuses it under its own name.
    """
    number = _number(side)
    if number is None or not number.is_integer() or not SIDE_MULTIPLE / 2 <= number <= limits.max_side_px:
        return side
    return min(_round_side(int(number)), limits.max_side_px)


def _round_side(side: int) -> int:
    return (side + SIDE_MULTIPLE // 2) // SIDE_MULTIPLE * SIDE_MULTIPLE


def _frames(seconds: object, own: Mapping[str, object], limits: RequestLimits) -> int:
    """The number of frames that play for `seconds`."""
    rate, width, height = (_number_of(own, name) for name in ("frame_rate", "width", "height"))
    rate = rate if limits.min_frame_rate <= rate <= limits.max_frame_rate else float(DEFAULTS["frame_rate"])
    most = min(limits.max_frames, limits.max_total_pixels // max(1, int(width * height)))
    low, high = limits.min_frames / rate, min(limits.max_duration_s, most / rate)
    length_s = _number(seconds)
    if length_s is None or not low <= length_s <= high:
        raise InvalidRequest("seconds", seconds, f"a number from {low:g} to {high:g} at {width:g}x{height:g}")
    return round(length_s * rate)


def _number_of(own: Mapping[str, object], name: str) -> float:
    """The number that the client sent, or the default. A later check refuses an invalid value under its own name."""
    number = _number(own.get(name))
    return number if number is not None and 0 < number <= 10_000 else float(DEFAULTS[name])  # noqa: PLR2004


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def create_schema(model: str, limits: RequestLimits) -> dict[str, Any]:
    """The body of a create route for OpenAPI: a form with an optional image, or JSON with a data url."""
    schema = request_schema(limits)
    scale = {"type": "number", "minimum": 0, "maximum": limits.max_guidance_scale}
    rate = {"type": "number", "minimum": limits.min_frame_rate, "maximum": limits.max_frame_rate}
    for side in ("width", "height"):
        schema["properties"][side] = {
            **schema["properties"][side],
            "description": "Rounded as the sides of `size` are.",
        }
        del schema["properties"][side]["multipleOf"]
    schema["properties"] |= {
        "model": {"type": "string", "enum": [model], "description": "The model that is served; may be left out."},
        "size": {
            "type": "string",
            "pattern": f"^{SIZE.pattern}$",
            "description": f"WIDTHxHEIGHT; each side is rounded to the nearest multiple of {SIDE_MULTIPLE}.",
        },
        "seconds": {
            "anyOf": [{"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,3})?$"}, {"type": "number"}],
            "description": "Duration in seconds. If both are given, `num_frames` is used.",
        },
        "fps": {**rate, "description": "vLLM-Omni's name for `frame_rate`."},
        "guidance_scale": {**scale, "description": "vLLM-Omni's name for `cfg_scale_video` and `cfg_scale_audio`."},
    }
    example = {"prompt": "The camera slowly pushes in while the waves roll on.", "size": "1280x720", "seconds": "4"}
    extra = {"description": "vLLM-Omni's: an object of " + ", ".join(f"`{name}`" for name in RENAMED_EXTRA) + "."}
    form_schema, json_schema = ({**schema, "properties": {**schema["properties"]}} for _ in range(2))
    form_schema["properties"][EXTRA] = {**extra, "type": "string"}
    json_schema["properties"][EXTRA] = {**extra, "type": "object", "additionalProperties": {"type": "number"}}
    reference = "An image that becomes the first frame, as a data url: `data:image/jpeg;base64,...`."
    as_object = {
        "type": "object",
        "properties": {"image_url": {"type": "string"}},
        "required": ["image_url"],
    }
    json_schema["properties"][IMAGE] = {"anyOf": [{"type": "string"}, as_object], "description": reference}
    form = form_body(form_schema, IMAGE, "An image that becomes the first frame.", example=example)
    return {"required": True, "content": form | json_body(json_schema, example)}

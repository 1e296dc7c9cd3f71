"""The fields of OpenAI's video API, and the fields of ours that they stand for."""

import re
from collections.abc import Mapping
from typing import Any

from deployments.ingress.bodies import form_body, json_body
from models.errors import InvalidRequest
from models.request import SIDE_MULTIPLE, Limits, VideoRequest
from models.request_schema import request_schema

SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
PICTURE = "input_reference"
OWN = frozenset({"model", "size", "seconds", PICTURE})
DEFAULT_FRAME_RATE = float(VideoRequest.model_fields["frame_rate"].default)


def translate(fields: Mapping[str, object], model: str, limits: Limits) -> dict[str, object]:
    """Fields as the other routes take them: `size` and `seconds` become ours, unless these are given too.

    Raises InvalidRequest for a model that is not served, a size and a length.
    """
    if (given := fields.get("model")) not in (None, "", model):
        raise InvalidRequest("model", given, f"{model}, the one that is served")
    rest = {name: value for name, value in fields.items() if name not in OWN}
    return {**_size(fields.get("size"), limits), **_frames(fields, limits), **rest}


def _size(size: object, limits: Limits) -> dict[str, object]:
    """Each side as the nearest multiple that a model can render."""
    if size in (None, ""):
        return {}
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    sides = (
        [(int(side) + SIDE_MULTIPLE // 2) // SIDE_MULTIPLE * SIDE_MULTIPLE for side in found.groups()] if found else []
    )
    if not sides or min(sides) < SIDE_MULTIPLE or max(sides) > limits.max_side:
        allowed = f"WIDTHxHEIGHT with sides from {SIDE_MULTIPLE} to {limits.max_side}, such as 1280x720"
        raise InvalidRequest("size", size, allowed)
    return {"width": sides[0], "height": sides[1]}


def _frames(fields: Mapping[str, object], limits: Limits) -> dict[str, object]:
    """As many frames as play for `seconds`."""
    seconds = fields.get("seconds")
    if seconds in (None, ""):
        return {}
    rate = _frame_rate(fields, limits)
    low, high = limits.min_frames / rate, min(limits.max_duration_s, limits.max_frames / rate)
    length_s = _number(seconds)
    if length_s is None or not low <= length_s <= high:
        raise InvalidRequest("seconds", seconds, f"a number from {low:g} to {high:g}")
    return {"num_frames": round(length_s * rate)}


def _frame_rate(fields: Mapping[str, object], limits: Limits) -> float:
    """The rate that was asked for. One that cannot be taken is refused later, under its own name."""
    rate = _number(fields.get("frame_rate"))
    allowed = rate is not None and limits.min_frame_rate <= rate <= limits.max_frame_rate
    return rate if rate is not None and allowed else DEFAULT_FRAME_RATE


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def create_schema(model: str, limits: Limits) -> dict[str, Any]:
    """The bodies of a create for OpenAPI: JSON, or a form that may carry a picture."""
    schema = request_schema(limits)
    schema["properties"] |= {
        "model": {"type": "string", "enum": [model], "description": "The model that is served; may be left out."},
        "size": {
            "type": "string",
            "pattern": f"^{SIZE.pattern}$",
            "description": f"WIDTHxHEIGHT; each side is rounded to the nearest multiple of {SIDE_MULTIPLE}.",
        },
        "seconds": {
            "anyOf": [{"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,3})?$"}, {"type": "number"}],
            "description": "How long it plays. `num_frames` wins where both are given.",
        },
    }
    schema["title"] = "VideoCreate"
    example = {"prompt": "The camera slowly pushes in while the waves roll on.", "size": "1280x720", "seconds": "4"}
    form = form_body(schema, PICTURE, "A picture that becomes the first frame.", example=example)
    return {"required": True, "content": json_body(schema, example) | form}

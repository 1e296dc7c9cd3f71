"""Checks the arguments of a tool, and maps those of create_video to the fields of this server."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import InvalidRequest
from models.request.json_words import NOTHING
from models.request.request import SIDE_MULTIPLE, RequestLimits, VideoRequest, spell_number

SIZE = re.compile(r" *([1-9]\d{0,4}) *[xX] *([1-9]\d{0,4}) *")
FIELD_NAMES = {
    "width": "size",
    "height": "size",
    "num_frames": "seconds",
    "cursor": "before",
    "Idempotency-Key": "request_key",
}
"""Fields of this server, each with the tool argument that sets it."""
SAME_NAMES = ("prompt", "negative_prompt", "quality", "seed", "generate_audio")


@dataclass(frozen=True)
class MappedRequest:
    """The fields as the native routes take them. `adjusted` describes rounded values."""

    fields: dict[str, object]
    adjusted: list[str]


def check_arguments(schema: Mapping[str, Any], arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return the arguments that the schema names, with its defaults. Null means left out. Raises InvalidRequest."""
    checked: dict[str, Any] = {}
    for name, rule in schema["properties"].items():
        value = arguments.get(name)
        if value is None:
            if name in schema.get("required", ()):
                raise InvalidRequest(name, NOTHING, _allowed(rule))
            if "default" in rule:
                checked[name] = rule["default"]
            continue
        checked[name] = _check_value(name, value, rule)
    return checked


def _check_value(name: str, value: object, rule: Mapping[str, Any]) -> object:
    converted = _convert(value, rule["type"])
    if converted is None or not _is_in_bounds(converted, rule):
        raise InvalidRequest(name, value, _allowed(rule))
    return converted


def _convert(value: object, kind: str) -> Any:
    """The value as the JSON type `kind`; None if it is of another type. Models often send numbers as text."""
    if kind in ("string", "boolean"):
        return value if isinstance(value, str if kind == "string" else bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if kind == "integer":
        return _whole(value)
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _whole(value: float | str) -> int | None:
    try:
        return int(value) if not isinstance(value, float) or value.is_integer() else None
    except (ValueError, OverflowError):
        return None


def _is_in_bounds(value: Any, rule: Mapping[str, Any]) -> bool:
    if "enum" in rule:
        return value in rule["enum"]
    if isinstance(value, str):
        return bool(rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", len(value)))
    if isinstance(value, bool):
        return True
    return bool(rule.get("minimum", value) <= value <= rule.get("maximum", value))


def _allowed(rule: Mapping[str, Any]) -> str:
    """The allowed values of an argument, in words."""
    if "enum" in rule:
        return "one of " + ", ".join(rule["enum"])
    if rule["type"] == "boolean":
        return "true or false"
    if rule["type"] == "string":
        most = f" of {rule.get('minLength', 0)} to {rule['maxLength']} characters" if "maxLength" in rule else ""
        return f"a text{most}"
    kind = "a whole number" if rule["type"] == "integer" else "a number"
    return f"{kind} from {spell_number(rule['minimum'])} to {spell_number(rule['maximum'])}"


def map_request(arguments: Mapping[str, Any], defaults: Mapping[str, float], limits: RequestLimits) -> MappedRequest:
    """Map checked arguments to fields. A missing seed is drawn. Raises InvalidRequest."""
    fields: dict[str, object] = {name: arguments[name] for name in SAME_NAMES if name in arguments}
    fields.setdefault("seed", None)
    adjusted: list[str] = []
    known = {name: defaults.get(name, field.default) for name, field in VideoRequest.model_fields.items()}
    if "size" in arguments:
        fields |= _sides(arguments["size"], limits, adjusted)
    width, height = (int(str(fields.get(name, known[name]))) for name in ("width", "height"))
    if "seconds" in arguments:
        fields["num_frames"] = _frames(arguments["seconds"], known["frame_rate"], width, height, limits)
    return MappedRequest(fields, adjusted)


def _sides(size: str, limits: RequestLimits, adjusted: list[str]) -> dict[str, int]:
    found = SIZE.fullmatch(size)
    sides = (
        [(int(side) + SIDE_MULTIPLE // 2) // SIDE_MULTIPLE * SIDE_MULTIPLE for side in found.groups()] if found else []
    )
    if not sides or min(sides) < SIDE_MULTIPLE or max(sides) > limits.max_side_px:
        allowed = f"WIDTHxHEIGHT with sides from {SIDE_MULTIPLE} to {limits.max_side_px}, such as 768x512"
        raise InvalidRequest("size", size, allowed)
    width, height = sides
    used = f"{width}x{height}"
    if used != size.strip().lower():
        adjusted.append(f"size: {used} in place of {size.strip()}, because sides are multiples of {SIDE_MULTIPLE}")
    return {"width": width, "height": height}


def _frames(length_s: float, rate: float, width: int, height: int, limits: RequestLimits) -> int:
    most = min(limits.max_frames, limits.max_total_pixels // (width * height))
    low, high = limits.min_frames / rate, min(limits.max_duration_s, most / rate)
    if not low <= length_s <= high:
        raise InvalidRequest("seconds", length_s, f"a number from {low:g} to {high:g} at {width}x{height}")
    return round(length_s * rate)

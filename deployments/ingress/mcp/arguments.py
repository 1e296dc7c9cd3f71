"""Checks the arguments of a tool, and maps those of create_video and edit_video to the fields of this server."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.ingress.dimensions import count_frames, parse_size
from deployments.ingress.mcp.argument_schemas import CONTROL, KEYFRAMES, OPERATIONS
from deployments.ingress.request_body.given_media import AUDIO, AUDIO_START, AUDIO_STRENGTH, DURATION, VIDEO, MediaUse
from models.errors import InvalidRequest
from models.request.control import control_loras
from models.request.json_words import NOTHING, Described
from models.request.loras import LORAS, KnownLora
from models.request.places import END_IMAGE, IMAGE, KEYFRAME, KEYFRAME_AT, PLACE_FIELDS, STRENGTH_OF, WHOLE
from models.request.request import SIDE_MULTIPLE, RequestLimits, VideoRequest, spell_number

SECONDS = "seconds"
AROUND_X = re.compile(r" *[xX] *")
FIELD_NAMES = {
    **dict.fromkeys((KEYFRAME, KEYFRAME_AT, STRENGTH_OF[KEYFRAME]), KEYFRAMES),
    "width": "size",
    "height": "size",
    "num_frames": SECONDS,
    DURATION: SECONDS,
    "cursor": "before",
    "Idempotency-Key": "request_key",
}
"""Fields of this server, each with the tool argument that sets it."""
SAME_NAMES = ("prompt", "negative_prompt", "quality", "seed", "generate_audio", "upscale", "loras", "camera_motion")
FILES = (AUDIO, VIDEO)
"""Arguments that name a file, from which the length of the video follows."""


def argument_of(field: str) -> str:
    """The tool argument that sets a field of this server."""
    return FIELD_NAMES.get(field, field)


@dataclass(frozen=True)
class MappedRequest:
    """The fields as the native routes take them. `adjusted` describes rounded values.

    `frame_rate` is that of a source, in frames per second; None for the model's own.
    """

    fields: dict[str, object]
    adjusted: list[str]
    frame_rate: float | None = None


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
    if rule["type"] == "array":
        return _check_list(name, value, rule)
    converted = _convert(value, rule["type"])
    if converted is None or not _is_in_bounds(converted, rule):
        raise InvalidRequest(name, value, _allowed(rule))
    return converted


def _check_list(name: str, value: object, rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A list of objects. Errors name the place in it, such as keyframes[0].at."""
    members = rule["items"]["properties"]
    if not isinstance(value, list) or len(value) > rule["maxItems"]:
        raise InvalidRequest(name, value, f"a list of at most {rule['maxItems']} objects with {', '.join(members)}")
    checked = []
    for index, each in enumerate(value):
        if not isinstance(each, Mapping) or not each.keys() <= members.keys():
            raise InvalidRequest(f"{name}[{index}]", each, f"an object with {', '.join(members)} and nothing else")
        try:
            checked.append(check_arguments(rule["items"], each))
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}[{index}].{error.field}", Described(error.given), error.allowed) from None
    return checked


def _convert(value: object, kind: str) -> Any:
    """The value as the JSON type `kind`; None if it is of another type. Models mix up numbers and their texts."""
    if kind == "boolean" or isinstance(value, bool):
        return value if kind == "boolean" and isinstance(value, bool) else None
    if not isinstance(value, int | float | str):
        return None
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value)
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


def map_places(arguments: Mapping[str, Any]) -> dict[str, object]:
    """The fields for the places and strengths of the images that the arguments give."""
    places: dict[str, object] = {name: arguments[name] for name in PLACE_FIELDS if name in arguments}
    if keyframes := arguments.get(KEYFRAMES):
        places[KEYFRAME_AT] = [each["at"] for each in keyframes]
        places[STRENGTH_OF[KEYFRAME]] = [each.get("strength", WHOLE) for each in keyframes]
    return places


def media_use(arguments: Mapping[str, Any]) -> MediaUse | None:
    """What the file is for that the arguments name; None if they name none."""
    if "operation" in arguments:
        return OPERATIONS[arguments["operation"]]
    return MediaUse.A2V if arguments.get(AUDIO) else None


def map_media(use: MediaUse, arguments: Mapping[str, Any]) -> dict[str, object]:
    """The fields of a use. Raises InvalidRequest for an argument of another operation, which would have no effect."""
    if use is MediaUse.A2V:
        if arguments.get(KEYFRAMES):
            raise InvalidRequest(KEYFRAMES, Described("a list"), f"left out: there is an {AUDIO}")
    else:
        _refuse_others(use, arguments)
    named = {field: argument_of(field) for field in use.fields}
    return {field: arguments[name] for field, name in named.items() if name in arguments}


def _refuse_others(use: MediaUse, arguments: Mapping[str, Any]) -> None:
    own = [argument_of(field) for field in use.fields]
    for other in OPERATIONS.values():
        for name in map(argument_of, other.fields):
            if name in arguments and name not in own:
                raise InvalidRequest(name, arguments[name], f"left out: {arguments['operation']} does not take it")


def refuse_audio_fields(arguments: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for an argument that belongs to an audio, where there is none."""
    for name in (AUDIO_START, AUDIO_STRENGTH):
        if name in arguments:
            raise InvalidRequest(name, arguments[name], f"left out: there is no {AUDIO}")


def refuse_images(use: MediaUse | None, arguments: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for an argument of an image beside a video that takes none."""
    if use is not MediaUse.CONTROL:
        names = (IMAGE, END_IMAGE, KEYFRAMES, STRENGTH_OF[IMAGE], STRENGTH_OF[END_IMAGE])
        refuse_given(arguments, names, f"{arguments['operation']} does not take it")


def refuse_given(arguments: Mapping[str, Any], names: Iterable[str], why: str) -> None:
    """Raise InvalidRequest for the first of the arguments `names` that is not blank."""
    for name in names:
        if arguments.get(name) not in (None, "", []):
            raise InvalidRequest(name, arguments[name], f"left out: {why}")


def refuse_control_loras(use: MediaUse | None, arguments: Mapping[str, Any], known: Mapping[str, KnownLora]) -> None:
    """Raise InvalidRequest for an IC-LoRA without the operation that needs it."""
    if use is MediaUse.CONTROL:
        return
    for index, each in enumerate(arguments.get(LORAS, ())):
        if each["name"] in control_loras(known) and each.get("scale", 1):
            allowed = f"a LoRA that needs no control video; operation {CONTROL} takes one"
            raise InvalidRequest(f"{LORAS}[{index}].name", each["name"], allowed)


def map_request(arguments: Mapping[str, Any], defaults: Mapping[str, float], limits: RequestLimits) -> MappedRequest:
    """Map checked arguments to fields. A missing seed is drawn. Raises InvalidRequest."""
    fields: dict[str, object] = {name: arguments[name] for name in SAME_NAMES if name in arguments}
    fields.setdefault("seed", None)
    adjusted: list[str] = []
    known = {name: defaults.get(name, field.default) for name, field in VideoRequest.model_fields.items()}
    if "size" in arguments:
        fields |= _sides(arguments["size"], limits, adjusted)
    if SECONDS in arguments and not any(arguments.get(name) for name in FILES):
        fields["num_frames"] = count_frames(SECONDS, arguments[SECONDS], {**known, **fields}, limits)
    return MappedRequest(fields, adjusted)


def _sides(size: str, limits: RequestLimits, adjusted: list[str]) -> dict[str, int]:
    """The sides of a size. A model may write spaces in it, or a capital X."""
    size = AROUND_X.sub("x", size.strip())
    sides = parse_size("size", size, limits)
    used = f"{sides['width']}x{sides['height']}"
    if used != size:
        adjusted.append(f"size: {used} in place of {size}, because sides are multiples of {SIDE_MULTIPLE}")
    return sides

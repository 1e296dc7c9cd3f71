"""The LoRAs of a request: picked by name from those of the operator. Does not import torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from models.errors import InvalidRequest
from models.request.enums import Control
from models.request.json_words import Described
from models.request.loose_values import refuse_bool

LORAS, CAMERA_MOTION = "loras", "camera_motion"
"""The fields of a request that pick LoRAs."""
MAX_LORAS = 4
MAX_NAME_CHARS = 64
DEFAULT_MAX_SCALE = 2.0
X_LORAS, X_MAX = "x-loras", "x-max-loras"
"""Extensions of the JSON schema: what is known of each LoRA, and how many a request may have. The page uses them.
"""
EXAMPLE = '[{"name": "a_name", "scale": 1.0}]'


@dataclass(frozen=True)
class KnownLora:
    """What a client may know of a LoRA. `trigger` are the words that a prompt should have for it.

    An IC-LoRA has a `control`. Its control video is `reference_downscale_factor` times smaller than the result, on each
    side.
    """

    trigger: str = ""
    max_scale: float = DEFAULT_MAX_SCALE
    control: Control | None = None
    reference_downscale_factor: int = 1


class LoraChoice(BaseModel):
    """A LoRA of a request, and how strongly it acts: 0 is off."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
    scale: Annotated[float, BeforeValidator(refuse_bool)] = 1.0


def _read_text(value: object) -> object:
    """The list that a form sends as JSON text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse_twice(value: tuple[LoraChoice, ...]) -> tuple[LoraChoice, ...]:
    if len({each.name for each in value}) < len(value):
        raise ValueError("each name once")
    return value


LoraChoices = Annotated[
    tuple[LoraChoice, ...], BeforeValidator(_read_text), AfterValidator(_refuse_twice), Field(max_length=MAX_LORAS)
]
ALLOWED = f"an array of at most {MAX_LORAS} objects with a name, each name once, and a scale, such as {EXAMPLE}"


def choose_loras(choices: tuple[LoraChoice, ...], camera_motion: str | None) -> tuple[LoraChoice, ...]:
    """All LoRAs of a request. A camera motion is the LoRA of its name, with scale 1."""
    return choices if camera_motion is None else (*choices, LoraChoice(name=camera_motion))


def check_loras(choices: tuple[LoraChoice, ...], camera_motion: str | None, known: Mapping[str, KnownLora]) -> None:
    """Raise InvalidRequest for a name that is not known, and for a scale outside the LoRA's bounds."""
    for index, each in enumerate(choices):
        if each.name not in known:
            raise InvalidRequest(f"{LORAS}[{index}].name", each.name, _names(known))
        most = known[each.name].max_scale
        if not 0 <= each.scale <= most:
            raise InvalidRequest(f"{LORAS}[{index}].scale", each.scale, f"a number from 0 to {most:g} for {each.name}")
    if camera_motion is not None:
        _check_motion(choices, camera_motion, known)


def _check_motion(choices: tuple[LoraChoice, ...], motion: str, known: Mapping[str, KnownLora]) -> None:
    if motion not in known:
        allowed = f"left out, or {_names(known)}: it picks the LoRA of its name" if known else _names(known)
        raise InvalidRequest(CAMERA_MOTION, motion, allowed)
    if known[motion].max_scale < 1:
        raise InvalidRequest(CAMERA_MOTION, motion, f"left out: {LORAS} picks it, with a scale below 1")
    if any(each.name == motion for each in choices):
        raise InvalidRequest(CAMERA_MOTION, motion, f"left out: {LORAS} names it already")
    if len(choices) == MAX_LORAS:
        given = Described(f"{motion} beside {MAX_LORAS} LoRAs")
        raise InvalidRequest(CAMERA_MOTION, given, f"one of at most {MAX_LORAS} LoRAs")


def _names(known: Mapping[str, KnownLora]) -> str:
    if not known:
        return "left out: this server has no LoRAs"
    return f"one of {', '.join(known)}"


def loras_schema(known: Mapping[str, KnownLora]) -> dict[str, Any]:
    """The JSON schema of the field, with the names and the bounds that are known."""
    name: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}
    most = max((each.max_scale for each in known.values()), default=DEFAULT_MAX_SCALE)
    choice = {
        "type": "object",
        "properties": {
            "name": {**name, "enum": list(known)} if known else name,
            "scale": {"type": "number", "minimum": 0, "maximum": most, "default": 1},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    schema = {"type": "array", "items": choice, "maxItems": MAX_LORAS, "default": []}
    if known:
        schema |= {X_LORAS: {name: _about(each) for name, each in known.items()}, X_MAX: MAX_LORAS}
    return schema


def _about(lora: KnownLora) -> dict[str, str | float]:
    about: dict[str, str | float] = {"trigger": lora.trigger, "max_scale": lora.max_scale}
    return about if lora.control is None else {**about, "control": str(lora.control)}

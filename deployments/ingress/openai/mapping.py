"""Maps fields of OpenAI's, vLLM-Omni's and SGLang's video APIs to the fields of this server."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.ingress.dimensions import count_frames, nearest_side, parse_size
from deployments.ingress.model_names import ModelNames
from deployments.ingress.request_body.reading import ImageNames
from deployments.ingress.schemas import AdjustedField
from models.errors import InvalidRequest
from models.request import places
from models.request.enums import Quality
from models.request.loose_values import is_blank, parse_number
from models.request.request import SIDE_MULTIPLE, TEXTS, RequestLimits

IMAGE = "input_reference"
OBJECTS_WITH_IMAGE = ("image_reference", "reference_url")
OTHER_NAMES = (*OBJECTS_WITH_IMAGE, places.IMAGE)
IMAGE_NAMES = ImageNames((IMAGE, f"{IMAGE}[image_url]", *OTHER_NAMES), (IMAGE, *OTHER_NAMES))
"""openai-node sends an object in a form under the second name. vLLM-Omni's and SGLang's clients use the next ones, and
the last one is that of this server."""
FILE_ID = f"{IMAGE}[file_id]"
NOT_SERVED = ("video_reference", "audio_reference", "video_url", "video_path", FILE_ID)
ONE_VIDEO = ("n", "num_outputs_per_prompt")
RENAMED = {
    "fps": ("frame_rate",),
    "guidance_scale": ("cfg_scale_video", "cfg_scale_audio"),
}
"""Field names of vLLM-Omni and SGLang, each with the fields of this server that it sets."""
EXTRA_PARAMS = "extra_params"
RENAMED_EXTRA = {
    "video_cfg_scale": "cfg_scale_video",
    "video_cfg_guidance_scale": "cfg_scale_video",
    "audio_cfg_scale": "cfg_scale_audio",
    "video_stg_scale": "stg_scale_video",
    "video_modality_scale": "modality_scale",
    "a2v_guidance_scale": "modality_scale",
}
"""Names inside `extra_params`, each with the field of this server that it sets."""
EXTRA_BODY = "extra_body"
OBJECTS = (EXTRA_PARAMS, EXTRA_BODY)
MEMBER = re.compile(rf"({'|'.join(OBJECTS)})\[([^\[\]]+)\]")
"""The name of a form field in which openai-node sends one member of an object."""
EXACT_WORDS = ("standard", "auto", "hd", "high")
"""Words of OpenAI's `quality`. Each asks for full quality, which is `exact` here."""
MEANT_EMPTY = (*TEXTS, "seed")
"""Fields whose empty value has a meaning. Every other empty field is treated as missing."""
SIDES = ("width", "height")
ROUNDED = f"each side is a multiple of {SIDE_MULTIPLE}"


@dataclass(frozen=True)
class Translated:
    """The fields as the native routes take them.

    `names` maps a field of this server to the name that the client used, where the two differ. `adjusted` lists what
    this API changed.
    """

    fields: dict[str, object]
    names: dict[str, str]
    adjusted: list[AdjustedField]
    given: dict[str, object]
    """The size and the seconds that the client sent."""


def merge_extra_body(fields: Mapping[str, object]) -> dict[str, object]:
    """Put the members of `extra_body` among the fields. A field beside it wins. Raises InvalidRequest."""
    fields = _gather_objects(fields)
    extra = _parse_object(EXTRA_BODY, fields.pop(EXTRA_BODY, None))
    return {**_gather_objects(extra), **fields}


def _gather_objects(fields: Mapping[str, object]) -> dict[str, object]:
    """Put form fields such as `extra_params[name]` together to objects."""
    gathered: dict[str, object] = {}
    members: dict[str, dict[str, object]] = {}
    for name, value in fields.items():
        if found := MEMBER.fullmatch(name):
            members.setdefault(found[1], {})[found[2]] = value
        else:
            gathered[name] = value
    return {**members, **gathered}


def translate(fields: Mapping[str, object], models: ModelNames, limits: RequestLimits) -> Translated:
    """Replace the names of the other APIs with this server's names.

    If the client also sends the field under this server's name, that value is used. Raises InvalidRequest for a model
    that is not served, an invalid `size`, `seconds`, `extra_params` or number of videos, and an unsupported field.
    """
    fields = {name: value for name, value in fields.items() if name in MEANT_EMPTY or not is_blank(value)}
    alias = models.check(fields.pop("model", models.served))
    adjusted = [] if alias is None else [alias]
    _refuse_what_is_not_served(fields)
    _take_only_seed(fields)
    adjusted += _adjust_quality(fields)
    size, seconds = fields.pop("size", None), fields.pop("seconds", None)
    renamed, names = _rename(fields)
    own = {**renamed, **_extra(fields.pop(EXTRA_PARAMS, None), names), **fields}
    names = {name: theirs for name, theirs in names.items() if name not in fields}
    own = {**({} if size is None else parse_size("size", size, limits)), **own}
    if size is not None:
        names |= {side: "size" for side in SIDES if side not in fields}
    for side in SIDES:
        if side in own:
            own[side] = nearest_side(own[side], limits)
    adjusted += _describe_rounding(size, fields, own)
    if seconds is not None and "num_frames" not in own:
        own["num_frames"] = count_frames("seconds", seconds, own, limits)
        names["num_frames"] = "seconds"
    return Translated(own, names, adjusted, {"size": size, "seconds": seconds})


def _refuse_what_is_not_served(fields: dict[str, object]) -> None:
    for name in NOT_SERVED:
        if name in fields:
            raise InvalidRequest(
                name, fields[name], "left out: this server accepts only an image, and stores no files for clients"
            )
    for name in ONE_VIDEO:
        if parse_number(given := fields.pop(name, 1)) != 1:
            raise InvalidRequest(name, given, "1: each request makes one video")


def _take_only_seed(fields: dict[str, object]) -> None:
    """Replace a list of seeds, which SGLang accepts, by its only element."""
    seeds = fields.get("seed")
    if isinstance(seeds, list):
        if len(seeds) != 1:
            raise InvalidRequest("seed", seeds, "one number, or a list with one number")
        fields["seed"] = seeds[0]


def _adjust_quality(fields: dict[str, object]) -> list[AdjustedField]:
    """Replace a word of OpenAI's `quality`. This server's own words stay."""
    given = fields.get("quality")
    if not isinstance(given, str) or given not in EXACT_WORDS:
        return []
    used = fields["quality"] = Quality.EXACT.value
    return [AdjustedField(field="quality", given=given, used=used, reason="the word of this server")]


def _describe_rounding(size: object, fields: Mapping[str, object], own: Mapping[str, object]) -> list[AdjustedField]:
    """What the answer says about sides that were rounded, under the name that the client used."""
    used = f"{own.get('width')}x{own.get('height')}"
    if isinstance(size, str) and not any(side in fields for side in SIDES):
        return [] if size == used else [AdjustedField(field="size", given=size, used=used, reason=ROUNDED)]
    changed = [side for side in SIDES if side in fields and parse_number(fields[side]) != parse_number(own[side])]
    return [AdjustedField(field=side, given=str(fields[side]), used=str(own[side]), reason=ROUNDED) for side in changed]


def _rename(fields: dict[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Move fields with a name of another API out of `fields`. Returns them under this server's names."""
    renamed: dict[str, object] = {}
    names: dict[str, str] = {}
    for theirs, ours in RENAMED.items():
        if theirs in fields:
            renamed |= dict.fromkeys(ours, fields.pop(theirs))
            names |= dict.fromkeys(ours, theirs)
    return renamed, names


def _extra(given: object, names: dict[str, str]) -> dict[str, object]:
    """Rename the members of `extra_params`.

    An unknown name stays in the result, so that the answer lists it as ignored.
    """
    extra = _parse_object(EXTRA_PARAMS, given)
    named = {RENAMED_EXTRA.get(name, f"{EXTRA_PARAMS}.{name}"): value for name, value in extra.items()}
    names |= {RENAMED_EXTRA[name]: f"{EXTRA_PARAMS}.{name}" for name in extra if name in RENAMED_EXTRA}
    return named


def _parse_object(name: str, given: object) -> Mapping[str, object]:
    """Parse an object, or JSON text of one in a form. An empty text means no members. Raises InvalidRequest."""
    if is_blank(given):
        return {}
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise InvalidRequest(name, given, "a JSON object")
    return found

"""Turns the size and the seconds of OpenAI's API into a width, a height and a number of frames."""

import re
from collections.abc import Mapping
from typing import Any

from models.errors import InvalidRequest
from models.request.request import SIDE_MULTIPLE, RequestLimits, VideoRequest

SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in VideoRequest.model_fields.items()}
LARGEST_NUMBER = 10_000


def parse_size(size: object, limits: RequestLimits) -> dict[str, int]:
    """Parse `size`, and round each side to the nearest multiple that a model can render. Raises InvalidRequest."""
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise InvalidRequest("size", size, f"{_bounds(limits)}, such as 1280x720")
    width, height = (round_side(int(side)) for side in found.groups())
    if min(width, height) < SIDE_MULTIPLE or max(width, height) > limits.max_side_px:
        nearest = _nearest_size(int(found[1]), int(found[2]), limits)
        raise InvalidRequest("size", size, f"{_bounds(limits)}; the nearest is {nearest}")
    return {"width": width, "height": height}


def _bounds(limits: RequestLimits) -> str:
    return f"WIDTHxHEIGHT with sides from {SIDE_MULTIPLE} to {limits.max_side_px}"


def _nearest_size(width: int, height: int, limits: RequestLimits) -> str:
    """The allowed size of about the same aspect ratio that is nearest to one that is too large or too small."""
    most = limits.max_side_px // SIDE_MULTIPLE * SIDE_MULTIPLE
    scale = min(1.0, most / max(width, height))
    sides = (min(most, max(SIDE_MULTIPLE, round_side(round(side * scale)))) for side in (width, height))
    return "x".join(map(str, sides))


def nearest_side(side: object, limits: RequestLimits) -> object:
    """Round a side to the nearest one that a model can render.

    An invalid side is returned as it is: a later check refuses it under its own name.
    """
    number = parse_number(side)
    if number is None or not number.is_integer() or not SIDE_MULTIPLE / 2 <= number <= limits.max_side_px:
        return side
    return min(round_side(int(number)), limits.max_side_px // SIDE_MULTIPLE * SIDE_MULTIPLE)


def round_side(side: int) -> int:
    """The nearest multiple that a model can render, half rounded up."""
    return (side + SIDE_MULTIPLE // 2) // SIDE_MULTIPLE * SIDE_MULTIPLE


def count_frames(seconds: object, own: Mapping[str, object], limits: RequestLimits) -> int:
    """The number of frames that play for `seconds`. The error names the longest duration at this size and rate."""
    rate, width, height = (_number_of(own, name) for name in ("frame_rate", "width", "height"))
    rate = rate if limits.min_frame_rate <= rate <= limits.max_frame_rate else float(DEFAULTS["frame_rate"])
    by_size = limits.max_total_pixels // max(1, int(width * height))
    low = limits.min_frames / rate
    bounds = {
        "limits.max_frames": limits.max_frames / rate,
        "limits.max_total_pixels": by_size / rate,
        "limits.max_duration_s": limits.max_duration_s,
    }
    bound = min(bounds, key=lambda name: bounds[name])
    length_s = parse_number(seconds)
    if length_s is None or not low <= length_s <= bounds[bound]:
        at = f"{width:g}x{height:g} and {rate:g} frames per second"
        raise InvalidRequest("seconds", seconds, f"a number from {low:g} to {bounds[bound]:g} at {at} ({bound})")
    return round(length_s * rate)


def _number_of(own: Mapping[str, object], name: str) -> float:
    """The number that the client sent, or the default. A later check refuses an invalid value under its own name."""
    number = parse_number(own.get(name))
    return number if number is not None and 0 < number <= LARGEST_NUMBER else float(DEFAULTS[name])


def parse_number(value: object) -> float | None:
    """The number, which may be given as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None

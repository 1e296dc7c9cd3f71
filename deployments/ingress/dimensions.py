"""Turns what a client gives into a width, a height and a number of frames: a size as text, a duration, a video's size.

OpenAI's API, MCP and the hosted LTX API all name the first two that way. Each passes its own names for the errors.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import InvalidRequest
from models.request.loose_values import parse_number
from models.request.request import SIDE_MULTIPLE, RequestLimits, VideoRequest

SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in VideoRequest.model_fields.items()}
LARGEST_NUMBER = 10_000


def parse_size(name: str, size: object, limits: RequestLimits) -> dict[str, int]:
    """Parse a size, and round each side to the nearest multiple that a model can render. Raises InvalidRequest.

    `name` is the field that the error names.
    """
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise InvalidRequest(name, size, f"{_bounds(limits)}, such as 1280x720")
    asked = int(found[1]), int(found[2])
    width, height = map(round_side, asked)
    if min(width, height) < SIDE_MULTIPLE or max(width, height) > limits.max_side_px:
        nearest = fit_size(
            *asked, limits.min_frames, most_side_px=limits.max_side_px, most_total_pixels=limits.max_total_pixels
        )
        raise InvalidRequest(name, size, f"{_bounds(limits)}; the nearest is {'x'.join(map(str, nearest))}")
    return {"width": width, "height": height}


def _bounds(limits: RequestLimits) -> str:
    return f"WIDTHxHEIGHT with sides from {SIDE_MULTIPLE} to {limits.max_side_px}"


def nearest_side(side: object, limits: RequestLimits) -> object:
    """Round a side to the nearest one that a model can render.

    An invalid side is returned as it is: a later check refuses it under its own name.
    """
    number = parse_number(side)
    if number is None or not number.is_integer() or not SIDE_MULTIPLE / 2 <= number <= limits.max_side_px:
        return side
    return min(round_side(int(number)), limits.max_side_px // SIDE_MULTIPLE * SIDE_MULTIPLE)


def round_side(side: float, multiple: int = SIDE_MULTIPLE) -> int:
    """The nearest multiple, half rounded up: by default of what a model can render."""
    return math.floor(side / multiple + 0.5) * multiple


def fit_size(
    width: int,
    height: int,
    num_frames: int,
    *,
    most_side_px: int,
    most_total_pixels: int,
    multiple: int = SIDE_MULTIPLE,
) -> tuple[int, int]:
    """The size nearest to that of the source with sides that are multiples, within the bounds."""
    most = most_side_px // multiple * multiple
    scale = min(1.0, most / max(width, height))
    for _ in range(most // SIDE_MULTIPLE):
        sides = (min(most, max(multiple, round_side(side * scale, multiple))) for side in (width, height))
        fitted = next(sides), next(sides)
        if fitted[0] * fitted[1] * num_frames <= most_total_pixels:
            break
        scale *= 0.95
    return fitted


def count_frames(name: str, seconds: object, fields: Mapping[str, object], limits: RequestLimits) -> int:
    """The number of frames that play for `seconds`. The error names the longest duration at this size and rate.

    `fields` has the size and the frame rate; what it leaves out has its default.
    """
    rate, width, height = _read_rate(fields, limits), *_read_sides(fields)
    low = limits.min_frames / rate
    bounds = _duration_bounds(rate, width, height, limits)
    bound = min(bounds, key=lambda each: bounds[each])
    length_s = parse_number(seconds)
    if length_s is None or not low <= length_s <= bounds[bound]:
        at = f"{width}x{height} and {rate:g} frames per second"
        raise InvalidRequest(name, seconds, f"a number from {low:g} to {bounds[bound]:g} at {at} ({bound})")
    return round(length_s * rate)


def count_most_frames(fields: Mapping[str, object], limits: RequestLimits) -> int:
    """The largest number of frames that the limits allow at this size and rate."""
    width, height = _read_sides(fields)
    by_size = limits.max_total_pixels // max(1, width * height)
    return min(limits.max_frames, by_size, int(limits.max_duration_s * _read_rate(fields, limits)))


def _duration_bounds(rate: float, width: int, height: int, limits: RequestLimits) -> dict[str, float]:
    """The longest duration in seconds that each limit allows."""
    return {
        "limits.max_frames": limits.max_frames / rate,
        "limits.max_total_pixels": limits.max_total_pixels // max(1, width * height) / rate,
        "limits.max_duration_s": limits.max_duration_s,
    }


def _read_rate(fields: Mapping[str, object], limits: RequestLimits) -> float:
    rate = _number_of(fields, "frame_rate")
    return rate if limits.min_frame_rate <= rate <= limits.max_frame_rate else float(DEFAULTS["frame_rate"])


def _read_sides(fields: Mapping[str, object]) -> tuple[int, int]:
    return int(_number_of(fields, "width")), int(_number_of(fields, "height"))


def describe_shapes(shapes: Sequence[Mapping[str, int]], rate: float) -> str:
    """Sizes and lengths in words, as alternatives, with the durations at this frame rate."""
    return " or ".join(
        f"{each['width']}x{each['height']} for {each['num_frames'] / rate:.4g} seconds" for each in shapes
    )


def _number_of(fields: Mapping[str, object], name: str) -> float:
    """The number that the client sent, or the default. A later check refuses an invalid value under its own name."""
    number = parse_number(fields.get(name))
    return number if number is not None and 0 < number <= LARGEST_NUMBER else float(DEFAULTS[name])

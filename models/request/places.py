"""The places of given images in a video: which frame, and how strongly. Parsed from the fields of a request.

Frames are counted as the client sees them: 0 is the first, -1 the last that is kept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from models.errors import InvalidRequest
from models.request.enums import DurationMode
from models.request.json_words import NOTHING, Described
from models.request.loose_values import is_blank, parse_number
from models.request.request import VideoRequest, spell_seconds

FIRST = 0
LAST = -1
"""The last frame that is kept. The only name of the last frame where the model chooses the length."""
WHOLE = 1.0
"""The strength of an image that is kept as it is."""
MAX_KEYFRAMES = 8
IMAGES = IMAGE, END_IMAGE, KEYFRAME = "image", "end_image", "keyframe"
"""The fields of the images. The last one may be repeated."""
OTHER_IMAGES = (END_IMAGE, KEYFRAME)
"""The fields whose images are none of the first frame."""
MAX_IMAGES = MAX_KEYFRAMES + 2
STRENGTH_OF = {IMAGE: "image_strength", END_IMAGE: "end_image_strength", KEYFRAME: "keyframe_strength"}
KEYFRAME_AT = "keyframe_at"
PLACE_FIELDS = (*STRENGTH_OF.values(), KEYFRAME_AT)
"""The fields that say where the images belong, and how strongly."""
REPEATED = (KEYFRAME_AT, STRENGTH_OF[KEYFRAME])
SECONDS = re.compile(r"\s*(\d{1,6}(?:\.\d{1,9})?)\s*s\s*")
FRAME = re.compile(r"\s*([+-]?\d{1,9})\s*")


@dataclass(frozen=True)
class Place:
    """One frame of the video, and how strongly its image is given: 1 keeps it as it is, 0 does not use it.

    `frame` is 0 or more, or LAST.
    """

    frame: int
    strength: float

    def resolve(self, num_frames: int) -> int:
        """The frame's number in a video of `num_frames` frames."""
        return num_frames - 1 if self.frame == LAST else self.frame


FIRST_WHOLE = Place(FIRST, WHOLE)


def is_first_image_alone(places: Sequence[Place]) -> bool:
    """Whether exactly the first frame is given, as it is: plain image-to-video."""
    return tuple(places) == (FIRST_WHOLE,)


def parse_places(fields: Mapping[str, object], request: VideoRequest, images: Sequence[str]) -> tuple[Place, ...]:
    """The places of `images`, which are named by their fields, in the same order.

    Raises InvalidRequest for a place outside the video, for two images at one place, for a strength outside 0 to 1, and
    where the number of places or strengths is not that of the images.
    """
    count = images.count(KEYFRAME)
    if count > MAX_KEYFRAMES:
        raise InvalidRequest(KEYFRAME, Described(f"{count} images"), f"at most {MAX_KEYFRAMES} images")
    frames = _keyframes(fields.get(KEYFRAME_AT), request, count)
    strengths = {name: iter(_strengths(STRENGTH_OF[name], fields, images.count(name))) for name in STRENGTH_OF}
    found: dict[int, str] = {}
    places = []
    for name in images:
        field, given, frame = next(frames) if name == KEYFRAME else (name, Described("an image"), _end(name, request))
        if frame in found:
            raise InvalidRequest(field, given, f"a place of its own: frame {_shown(frame)} is that of {found[frame]}")
        found[frame] = name
        places.append(Place(frame, next(strengths[name])))
    return tuple(places)


def _end(name: str, request: VideoRequest) -> int:
    return FIRST if name == IMAGE else _normalize(LAST, request)


def _normalize(frame: int, request: VideoRequest) -> int:
    """A number where the length is known, so that equal places are equal."""
    return request.num_frames - 1 if frame == LAST and request.length is DurationMode.EXACT else frame


def _shown(frame: int) -> str:
    return "-1, the last," if frame == LAST else str(frame)


def _keyframes(value: object, request: VideoRequest, count: int) -> Iterator[tuple[str, object, int]]:
    given = _as_list(value)
    if len(given) != count:
        shown = NOTHING if not given else Described(f"{len(given)} of them")
        raise InvalidRequest(KEYFRAME_AT, shown, f"given once for each {KEYFRAME}, {count} in all")
    return iter([(KEYFRAME_AT, each, _parse_frame(each, request)) for each in given])


def _parse_frame(value: object, request: VideoRequest) -> int:
    """The frame of a keyframe. Raises InvalidRequest where it is outside the video."""
    frame = _read_frame(value, request.exact_frame_rate)
    last = request.num_frames - 1
    if request.length is DurationMode.AUTO and frame not in (FIRST, LAST):
        raise InvalidRequest(KEYFRAME_AT, value, "0 or -1, because the model chooses the length (length: auto)")
    if frame is None or not LAST <= frame <= last:
        last_s = spell_seconds(last / request.exact_frame_rate)
        allowed = f"a frame from 0 to {last}, -1 for the last one, or seconds from 0s to {last_s}s"
        raise InvalidRequest(KEYFRAME_AT, value, allowed)
    return _normalize(frame, request)


def _read_frame(value: object, frame_rate: Fraction) -> int | None:
    """The frame that a number or a text names, inside the video or not: a frame, or seconds such as 1.5s."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value
    if seconds := SECONDS.fullmatch(value):
        return round(Fraction(seconds[1]) * frame_rate)
    return int(value) if FRAME.fullmatch(value) else None


def _strengths(field: str, fields: Mapping[str, object], count: int) -> list[float]:
    """One strength for each image of a field. A strength of 1 without its image is what a form fills in."""
    given = _as_list(fields.get(field))
    strengths = [parse_strength(field, each) for each in given]
    if not count and all(strength == WHOLE for strength in strengths):
        return []
    if given and len(given) != count:
        name = next(name for name, its in STRENGTH_OF.items() if its == field)
        allowed = (
            f"given once for each {name}, {count} in all, or left out" if count else f"left out: there is no {name}"
        )
        raise InvalidRequest(field, Described(f"{len(given)} of them") if count else given[0], allowed)
    return strengths or [WHOLE] * count


def parse_strength(field: str, value: object) -> float:
    """How strongly something is given, from 0 to 1; WHOLE where it is left out. Raises InvalidRequest."""
    strength = WHOLE if is_blank(value) else parse_number(value)
    if strength is None or not 0 <= strength <= WHOLE:
        raise InvalidRequest(field, value, "a number from 0 to 1")
    return strength


def _as_list(value: object) -> list[object]:
    """One value or several, as a list. A form that is filled in by a program may send one blank."""
    if is_blank(value):
        return []
    given = list(value) if isinstance(value, list | tuple) else [value]
    return [] if len(given) == 1 and is_blank(given[0]) else given

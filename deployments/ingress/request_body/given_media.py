"""The audio or the video of a request, and the fields that say how it is used."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from models.errors import InvalidRequest
from models.request import edits
from models.request.control import CONTROL_STRENGTH, PREPROCESSOR
from models.request.loose_values import is_blank
from models.request.places import END_IMAGE, IMAGE, IMAGES
from models.request.request import SIDE_MULTIPLE, RequestLimits

SOURCE_TASK = "source_task"
"""The field that names a completed task in place of a file."""
AUDIO, VIDEO = "audio", "video"
AUDIO_START, AUDIO_STRENGTH, DURATION = "audio_start", "audio_strength", "duration"


class MediaUse(StrEnum):
    """What a given audio or video file is for. The value is the end of the route."""

    A2V = "a2v"
    """A video is made to an audio file."""
    RETAKE = "retake"
    """A part of a video is made anew."""
    EXTEND = "extend"
    """A video is made longer."""
    V2V = "v2v"
    """A video is made anew as a whole, from a text and from the video."""
    CONTROL = "control"
    """A new video follows a control video, with an IC-LoRA."""

    @property
    def file_field(self) -> str:
        """The field of the file."""
        return AUDIO if self is MediaUse.A2V else VIDEO

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of this use alone."""
        return USE_FIELDS[self]

    @property
    def decided(self) -> tuple[str, ...]:
        """The parameters of a request that follow from the file."""
        match self:
            case MediaUse.A2V:
                return ("num_frames", "length")
            case MediaUse.CONTROL:
                return SHAPE
            case _:
                return OF_THE_VIDEO

    @property
    def images(self) -> tuple[str, ...]:
        """The fields of the images that may come with the file."""
        return IMAGES_WITH.get(self, ())


USE = "use"
"""The field of an estimate that says which submit is meant."""
USE_FIELDS = {
    MediaUse.A2V: (AUDIO_START, DURATION, AUDIO_STRENGTH),
    MediaUse.RETAKE: (edits.START_TIME, edits.DURATION, edits.MODE),
    MediaUse.EXTEND: (edits.DURATION, edits.MODE, edits.CONTEXT),
    MediaUse.V2V: (edits.VIDEO_STRENGTH, edits.MODE),
    MediaUse.CONTROL: (CONTROL_STRENGTH, PREPROCESSOR),
}
IMAGES_WITH = {MediaUse.A2V: (IMAGE, END_IMAGE), MediaUse.CONTROL: IMAGES}
SHAPE = ("width", "height", "num_frames", "frame_rate", "length")
OF_THE_VIDEO = (*SHAPE, "fit")


@dataclass(frozen=True)
class GivenMedia:
    """A file, or the task whose video is meant, with the fields of its use and those that it decides, as sent."""

    use: MediaUse
    path: Path | None = None
    content_digest: str = ""
    task_id: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    replaced: Mapping[str, object] = field(default_factory=dict)

    def placeholders(self, limits: RequestLimits) -> dict[str, object]:
        """Values for what the file decides, for the checks before it is read."""
        length: dict[str, object] = {"num_frames": limits.min_frames}
        if self.use is MediaUse.A2V:
            return length
        return {"width": SIDE_MULTIPLE, "height": SIDE_MULTIPLE, "frame_rate": limits.max_frame_rate, **length}

    def digest(self) -> str:
        """Tells different files, tasks and fields apart."""
        told = json.dumps([self.use, self.content_digest, self.task_id, sorted(self.fields.items())], default=str)
        return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()


def take_use(fields: dict[str, object]) -> tuple[MediaUse | None, dict[str, object]]:
    """Take the use that an estimate is for, and the fields of that use, from the fields. Raises InvalidRequest."""
    value = fields.pop(USE, None)
    if is_blank(value):
        return None, {}
    try:
        use = MediaUse(str(value))
    except ValueError:
        raise InvalidRequest(USE, value, f"one of {', '.join(MediaUse)}") from None
    return use, {name: fields.pop(name) for name in use.fields if name in fields}


def split_media_fields(use: MediaUse, fields: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """The fields of this use, and those that the file decides."""
    return (
        {name: fields[name] for name in use.fields if name in fields},
        {name: fields[name] for name in use.decided if name in fields},
    )

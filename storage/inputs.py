"""The input file of a task: what was given beside its text. One file, so that it is written atomically.

A whole first image alone is stored as it is. Otherwise the file is a ZIP archive:

- `places.json` and the images by their number;
- `audio.json` and `audio`, if audio is given;
- `source.json` and `source`, if a video is given of which a part is made anew.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from models.request.edits import Edit
from models.request.places import FIRST_WHOLE, WHOLE, Place, is_first_image_alone

ZIP = b"PK\x03\x04"
"""How a ZIP archive begins, and no image."""
PLACES, AUDIO_FACTS, SOURCE_FACTS = "places.json", "audio.json", "source.json"
AUDIO, SOURCE = "audio", "source"


@dataclass(frozen=True)
class InputImage:
    """The bytes of an image file, and its place in the video."""

    content: bytes
    place: Place = FIRST_WHOLE


@dataclass(frozen=True)
class InputAudio:
    """Given audio, which begins with the video: FLAC or WAV, mono or stereo, at most 48 kHz.

    `strength`: 1 keeps it as it is, 0 does not use it.
    """

    content: bytes
    strength: float = WHOLE


@dataclass(frozen=True)
class InputSource:
    """A given video, and the part of it that is made anew.

    `content` is a Matroska file with lossless H.264 (BT.709 yuv420p, limited range) of the result's size and rate, and
    with FLAC if the video has audio: mono or stereo, at most 48 kHz.
    """

    content: bytes
    edit: Edit


@dataclass(frozen=True)
class TaskInputs:
    """All that a task was given beside its text."""

    images: tuple[InputImage, ...] = ()
    audio: InputAudio | None = None
    source: InputSource | None = None


NO_INPUTS = TaskInputs()


def pack_inputs(inputs: TaskInputs) -> bytes:
    """The content of the input file. Something must be given."""
    if inputs.audio is None and inputs.source is None and is_first_image_alone([each.place for each in inputs.images]):
        return inputs.images[0].content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # all parts are compressed already
        _write_images(archive, inputs.images)
        if inputs.audio is not None:
            archive.writestr(AUDIO_FACTS, json.dumps({"strength": inputs.audio.strength}))
            archive.writestr(AUDIO, inputs.audio.content)
        if inputs.source is not None:
            archive.writestr(SOURCE_FACTS, json.dumps(asdict(inputs.source.edit)))
            archive.writestr(SOURCE, inputs.source.content)
    return buffer.getvalue()


def unpack_inputs(content: bytes) -> TaskInputs:
    """What is in an input file."""
    if not content.startswith(ZIP):
        return TaskInputs((InputImage(content),))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = set(archive.namelist())
        return TaskInputs(
            _read_images(archive),
            _read_audio(archive) if AUDIO in names else None,
            _read_source(archive) if SOURCE in names else None,
        )


def _write_images(archive: zipfile.ZipFile, images: Sequence[InputImage]) -> None:
    places = [{"frame": each.place.frame, "strength": each.place.strength} for each in images]
    archive.writestr(PLACES, json.dumps(places))
    for number, each in enumerate(images):
        archive.writestr(str(number), each.content)


def _read_images(archive: zipfile.ZipFile) -> tuple[InputImage, ...]:
    places = [Place(int(each["frame"]), float(each["strength"])) for each in json.loads(archive.read(PLACES))]
    return tuple(InputImage(archive.read(str(number)), place) for number, place in enumerate(places))


def _read_audio(archive: zipfile.ZipFile) -> InputAudio:
    facts = json.loads(archive.read(AUDIO_FACTS))
    return InputAudio(archive.read(AUDIO), float(facts["strength"]))


def _read_source(archive: zipfile.ZipFile) -> InputSource:
    return InputSource(archive.read(SOURCE), Edit(**json.loads(archive.read(SOURCE_FACTS))))

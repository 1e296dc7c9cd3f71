"""The input file of a task: what was given beside its text. One file, so that it is written atomically.

A whole first image alone is stored as it is. Otherwise the file is a ZIP archive: the images by their number, `audio`
and `source`, and a JSON file about them. That is `places.json` if there are only images, `control.json` with a control
video, and else `inputs.json`: so an earlier version fails on what it does not know, and does not render without it.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from models.request.edits import Edit
from models.request.places import FIRST_WHOLE, WHOLE, Place, is_first_image_alone

ZIP = b"PK\x03\x04"
"""How a ZIP archive begins, and no image."""
PLACES, FACTS, CONTROL_FACTS = "places.json", "inputs.json", "control.json"
AUDIO, SOURCE, CONTROL = "audio", "source", "control"


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
class InputControl:
    """A control video for the IC-LoRA `lora`.

    `content` is as in `InputSource`, without audio. Its sides are those of the result, or of the first of two stages,
    divided by `downscale_factor`. `strength`: 1 keeps it as it is, 0 makes it noise.
    """

    content: bytes
    lora: str
    strength: float = WHOLE
    downscale_factor: int = 1


@dataclass(frozen=True)
class TaskInputs:
    """All that a task was given beside its text."""

    images: tuple[InputImage, ...] = ()
    audio: InputAudio | None = None
    source: InputSource | None = None
    control: InputControl | None = None

    @property
    def has_video(self) -> bool:
        """Whether a video is given: to be changed, or to be followed."""
        return self.source is not None or self.control is not None

    @property
    def are_images(self) -> bool:
        """Whether nothing but images is given."""
        return self.audio is None and not self.has_video


NO_INPUTS = TaskInputs()


def pack_inputs(inputs: TaskInputs) -> bytes:
    """The content of the input file. Something must be given."""
    if inputs.are_images and is_first_image_alone([each.place for each in inputs.images]):
        return inputs.images[0].content
    buffer = io.BytesIO()
    write_archive(inputs, buffer)
    return buffer.getvalue()


def write_archive(inputs: TaskInputs, target: BinaryIO) -> None:
    """Write the input file of a task that has more than a whole first image, without another copy in memory."""
    places = [asdict(each.place) for each in inputs.images]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # all parts are compressed already
        if inputs.are_images:
            archive.writestr(PLACES, json.dumps(places))
        else:
            facts_name = FACTS if inputs.control is None else CONTROL_FACTS
            archive.writestr(facts_name, json.dumps({"places": places, **_facts(inputs)}))
        for name, content in _parts(inputs):
            archive.writestr(name, content)


def unpack_inputs(content: bytes) -> TaskInputs:
    """What is in an input file."""
    if not content.startswith(ZIP):
        return TaskInputs((InputImage(content),))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if PLACES in archive.namelist():
            return TaskInputs(_read_images(archive, json.loads(archive.read(PLACES))))
        facts = json.loads(archive.read(FACTS if FACTS in archive.namelist() else CONTROL_FACTS))
        audio, source, control = facts.get(AUDIO), facts.get(SOURCE), facts.get(CONTROL)
        return TaskInputs(
            _read_images(archive, facts["places"]),
            None if audio is None else InputAudio(archive.read(AUDIO), float(audio["strength"])),
            None if source is None else InputSource(archive.read(SOURCE), Edit(**source["edit"])),
            None if control is None else InputControl(archive.read(CONTROL), **control),
        )


def _facts(inputs: TaskInputs) -> Mapping[str, Any]:
    facts: dict[str, Any] = {}
    if inputs.audio is not None:
        facts[AUDIO] = {"strength": inputs.audio.strength}
    if inputs.source is not None:
        facts[SOURCE] = {"edit": _edit_facts(inputs.source.edit)}
    if (control := inputs.control) is not None:
        told = {"lora": control.lora, "strength": control.strength, "downscale_factor": control.downscale_factor}
        facts[CONTROL] = told
    return facts


def _edit_facts(edit: Edit) -> dict[str, Any]:
    """The fields of an edit. Those that an earlier version lacks are left out where they change nothing."""
    facts = asdict(edit)
    return facts if edit.strength else {name: value for name, value in facts.items() if name != "strength"}


def _parts(inputs: TaskInputs) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each file that was given."""
    for number, each in enumerate(inputs.images):
        yield str(number), each.content
    if inputs.audio is not None:
        yield AUDIO, inputs.audio.content
    if inputs.source is not None:
        yield SOURCE, inputs.source.content
    if inputs.control is not None:
        yield CONTROL, inputs.control.content


def _read_images(archive: zipfile.ZipFile, places: Sequence[Mapping[str, Any]]) -> tuple[InputImage, ...]:
    return tuple(
        InputImage(archive.read(str(number)), Place(int(each["frame"]), float(each["strength"])))
        for number, each in enumerate(places)
    )

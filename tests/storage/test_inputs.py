"""The input file of a task: what goes in comes out, and a whole first image alone is the file itself."""

import io
import json
import zipfile

import pytest

from models.request.edits import Edit, video_to_video
from models.request.places import LAST, Place
from storage.inputs import InputAudio, InputControl, InputImage, InputSource, TaskInputs, pack_inputs, unpack_inputs

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xd8\xff" + bytes(50)
FLAC, MATROSKA = b"fLaC" + bytes(50), b"\x1a\x45\xdf\xa3" + bytes(50)
EDIT = Edit(12, 30, replaces_video=False, source_at=4, context=25)


def test_a_whole_first_image_alone_is_stored_as_it_always_was() -> None:
    alone = TaskInputs((InputImage(PNG),))
    assert pack_inputs(alone) == PNG
    assert unpack_inputs(PNG) == alone


@pytest.mark.parametrize(
    "inputs",
    [
        TaskInputs((InputImage(PNG, Place(0, 0.5)),)),
        TaskInputs((InputImage(JPEG, Place(LAST, 1.0)),)),
        TaskInputs((InputImage(PNG), InputImage(JPEG, Place(48, 1 / 3)), InputImage(PNG, Place(12, 0.0)))),
        TaskInputs(audio=InputAudio(FLAC, 1 / 3)),
        TaskInputs((InputImage(PNG),), audio=InputAudio(FLAC)),
        TaskInputs(source=InputSource(MATROSKA, EDIT)),
        TaskInputs(source=InputSource(MATROSKA, video_to_video(49, 1 / 3))),
        TaskInputs((InputImage(PNG),), InputAudio(FLAC), InputSource(MATROSKA, EDIT)),
        TaskInputs(control=InputControl(MATROSKA, "canny", 0.5, 2)),
    ],
)
def test_all_others_come_back_as_they_were(inputs: TaskInputs) -> None:
    assert unpack_inputs(pack_inputs(inputs)) == inputs


def test_an_earlier_version_reads_a_retake_and_fails_on_a_strength() -> None:
    for edit, has in ((EDIT, False), (video_to_video(49, 0), False), (video_to_video(49, 0.5), True)):
        with zipfile.ZipFile(io.BytesIO(pack_inputs(TaskInputs(source=InputSource(MATROSKA, edit))))) as archive:
            assert ("strength" in json.loads(archive.read("inputs.json"))["source"]["edit"]) is has


def test_an_earlier_version_finds_no_places_beside_what_it_does_not_know() -> None:
    """It reads them first, fails, and so renders no video without its audio."""
    for inputs in (TaskInputs((InputImage(PNG),), InputAudio(FLAC)), TaskInputs(source=InputSource(MATROSKA, EDIT))):
        with zipfile.ZipFile(io.BytesIO(pack_inputs(inputs))) as archive, pytest.raises(KeyError):
            archive.read("places.json")
    control = pack_inputs(TaskInputs(control=InputControl(MATROSKA, "canny")))
    with zipfile.ZipFile(io.BytesIO(control)) as archive:
        assert set(archive.namelist()) == {"control", "control.json"}

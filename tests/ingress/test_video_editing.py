"""Retake and extend, from the body of a request to the input file of its task."""

import numpy as np
import pytest

from models.request.edits import Edit
from storage.inputs import TaskInputs, unpack_inputs
from storage.tasks import State
from tests.ingress.conftest import PROMPT, Box
from tests.ingress.media import decode_audio, decode_frames, frames_of, tone, video_file

FRAMES = frames_of(50)


@pytest.fixture(scope="module")
def video() -> bytes:
    return video_file(FRAMES, audio_s=2.0)


def post(box: Box, route: str, video: bytes | None = None, headers: dict[str, str] | None = None, **fields: object):
    data = {"prompt": PROMPT, **{name: str(value) for name, value in fields.items()}}
    if video is None:
        return box.client.post(f"/v1/video/{route}", json={"prompt": PROMPT, **fields}, headers=headers)
    files = {"video": ("clip.mp4", video, "video/mp4")}
    return box.client.post(f"/v1/video/{route}", data=data, files=files, headers=headers)


def inputs_of(box: Box, task_id: str) -> TaskInputs:
    key = box.row(task_id).input_key
    assert key is not None
    return unpack_inputs(b"".join(box.outputs.open(key)))


def edit_of(box: Box, task_id: str) -> Edit:
    source = inputs_of(box, task_id).source
    assert source is not None
    return source.edit


def test_a_retake_keeps_the_frames_and_the_audio_of_its_source(box, video):
    answer = post(box, "async_retake", video, start_time=0.4, duration=1)
    assert answer.status_code == 200, answer.text
    task = box.row(answer.json()["task_id"])
    request = task.request
    assert (request.width, request.height, request.num_frames, request.frame_rate) == (128, 64, 50, 25)
    source = inputs_of(box, task.id).source
    assert source.edit == Edit(10, 35)
    assert all(np.array_equal(*pair) for pair in zip(decode_frames(source.content), FRAMES, strict=True))
    audio = decode_audio(source.content)
    assert audio.shape == (2, 96_000)
    assert np.corrcoef(audio[0], tone(2.0)[0])[0, 1] > 0.99
    assert answer.json()["adjusted"] == []


def test_an_extend_adds_to_the_end_or_to_the_start(box, video):
    task_id = post(box, "async_extend", video, duration=1).json()["task_id"]
    assert box.row(task_id).request.num_frames == 75
    assert edit_of(box, task_id) == Edit(38, 75)
    task_id = post(box, "async_extend", video, duration=1, mode="start").json()["task_id"]
    assert edit_of(box, task_id) == Edit(0, 37, source_at=25)


def test_a_source_task_is_copied_so_that_deleting_it_loses_nothing(box, video):
    source = box.finished(video)
    task_id = post(box, "async_retake", source_task=source, mode="replace_audio").json()["task_id"]
    assert box.client.delete(f"/v1/video/tasks/{source}").status_code == 200
    assert edit_of(box, task_id) == Edit(0, 50, replaces_video=False)
    assert len(decode_frames(inputs_of(box, task_id).source.content)) == 50


def test_a_source_task_that_has_no_video_is_refused_with_the_reason(box, video):
    unknown = post(box, "async_extend", source_task="0" * 32, duration=1)
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "not_found")
    waiting = post(box, "async_extend", source_task=box.submit(), duration=1)
    assert waiting.status_code == 409
    assert "queued" in waiting.json()["error"]
    box.start()
    deleted = box.finished(video)
    box.client.delete(f"/v1/video/tasks/{deleted}")
    gone = post(box, "async_extend", source_task=deleted, duration=1)
    assert (gone.status_code, gone.json()["error_code"]) == (410, "gone")
    assert box.row(deleted).state is State.DELETED

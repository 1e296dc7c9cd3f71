"""Retake and extend, from the body of a request to the input file of its task."""

import io

import jsonschema
import numpy as np
import pytest
from av.video.reformatter import ColorTrc
from PIL import Image

from models.request.adjustments import made_at_submit
from models.request.edits import Edit
from storage.tasks import State
from tests.ingress.conftest import PROMPT, Box, completing
from tests.ingress.keys import ALICE, BOB, KEYS, speaking_as
from tests.ingress.media import decode_audio, decode_frames, edit_of, frames_of, inputs_of, tone, video_file

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


def test_the_row_of_an_edit_has_how_many_frames_are_rendered(box, video):
    whole = post(box, "async_extend", video, duration=1).json()["task_id"]
    part = post(box, "async_extend", video, duration=1, context=0.8).json()["task_id"]
    assert [box.row(each).rendered_frames for each in (whole, part)] == [75, 45]
    assert (box.row(part).rendered_request.num_frames, box.row(part).rendered_part.num_frames) == (75, 45)
    assert box.row(box.submit()).rendered_frames is None


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


@pytest.mark.parametrize("form", ["async_", ""])
@pytest.mark.parametrize("use", ["i2v", "retake", "extend", "v2v"])
def test_the_schema_promises_how_a_source_task_is_refused(box, video, form, use):
    deleted = box.finished(video)
    box.client.delete(f"/v1/video/tasks/{deleted}")
    waiting = box.submit()
    document = box.client.get("/openapi.json").json()
    responses = document["paths"][f"/v1/video/{form}{use}"]["post"]["responses"]
    for source, status in (("0" * 32, 404), (waiting, 409), (deleted, 410)):
        answer = post(box, f"{form}{use}", source_task=source, duration=1)
        assert (answer.status_code, answer.json()["field"]) == (status, "source_task")
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


def test_the_video_of_another_key_is_unknown(open_box, video):
    box = open_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        task_id = box.finished(video)
        assert post(box, "async_retake", source_task=task_id).status_code == 200
    with speaking_as(box, BOB):
        for route in ("async_retake", "async_extend", "async_i2v"):
            assert post(box, route, source_task=task_id, duration=1).status_code == 404


def test_a_video_whose_file_expired_is_gone(box, video):
    task_id = box.finished(video)
    box.outputs.delete(f"outputs/ltx2_{task_id}.mp4")
    assert post(box, "async_retake", source_task=task_id).status_code == 410


def test_the_last_frame_of_a_task_becomes_the_first_image(box, video):
    task_id = box.finished(video)
    answer = post(box, "async_i2v", source_task=task_id, width=128, height=64)
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == []
    frame = inputs_of(box, answer.json()["task_id"]).images[0].content
    last_frame = box.client.get(f"/outputs/ltx2_{task_id}.last_frame.png").content
    with Image.open(io.BytesIO(frame)) as given, Image.open(io.BytesIO(last_frame)) as last:
        assert given.tobytes() == last.tobytes()


def test_what_follows_from_the_video_is_told_where_the_client_asked_for_more(box, video):
    answer = post(box, "async_retake", video, width=768, num_frames=121, frame_rate=25, nonsense=1)
    told = {each["field"]: (each["given"], each["used"]) for each in answer.json()["adjusted"]}
    assert told == {"width": (768, 128), "num_frames": (121, 50)}
    assert answer.json()["ignored"] == ["nonsense"]
    odd = post(box, "async_retake", video_file(frames_of(10, 150, 98)))
    told = {each["field"]: (each["given"], each["used"]) for each in odd.json()["adjusted"]}
    assert told == {"width": (150, 128), "height": (98, 128)}


@pytest.mark.parametrize(
    ("route", "fields", "field"),
    [
        ("async_retake", {"start_time": 5}, "start_time"),
        ("async_retake", {"start_time": 1, "duration": 4}, "duration"),
        ("async_retake", {"mode": "end"}, "mode"),
        ("async_extend", {}, "duration"),
        ("async_extend", {"duration": 0}, "duration"),
        ("async_extend", {"duration": 1, "context": 0.1}, "context"),
        ("async_extend", {"duration": 1, "mode": "replace_video"}, "mode"),
        ("async_extend", {"duration": 1, "source_task": "x"}, "source_task"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(box, video, route, fields, field):
    answer = post(box, route, video, **fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert not list(box.folder.glob("store/inputs/*"))


def test_a_video_or_a_task_is_required(box):
    answer = post(box, "async_retake")
    assert (answer.status_code, answer.json()["field"]) == (422, "video")


def test_the_model_sees_as_much_of_a_long_source_as_fits(open_box, video):
    """The result may be longer than what is rendered at once."""
    box = open_box(limits={"max_frames": 49})
    task_id = post(box, "async_extend", video, duration=1).json()["task_id"]
    task, edit = box.row(task_id), edit_of(box, task_id)
    assert task.request.num_frames == 75
    assert edit.rendered_request(task.request).num_frames == 49
    too_long = post(box, "async_retake", video, duration=2)
    assert (too_long.status_code, too_long.json()["field"]) == (422, "duration")


def test_the_same_key_gives_the_same_task_after_its_source_was_deleted(box, video):
    source = box.finished(video)
    key = {"Idempotency-Key": "one"}
    first = post(box, "async_retake", source_task=source, headers=key)
    box.client.delete(f"/v1/video/tasks/{source}")
    again = post(box, "async_retake", source_task=source, headers=key)
    assert again.json()["task_id"] == first.json()["task_id"]
    other = post(box, "async_retake", source_task=source, start_time=0.5, headers=key)
    assert other.json()["error_code"] == "idempotency_key_reused"


def test_the_synchronous_routes_wait_for_the_video(box, video):
    with completing(box):
        answer = post(box, "retake", video)
        assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text


def test_hdr_is_told_and_changes_no_field(box):
    answer = post(box, "async_retake", video_file(FRAMES[:10], trc=ColorTrc.SMPTE2084))
    (told,) = answer.json()["adjusted"]
    assert (told["field"], told["given"], told["used"]) == ("video", "HDR", "SDR")
    task = box.row(answer.json()["task_id"])
    assert task.rendered_request == task.request
    assert made_at_submit(task.adjustments) == task.adjustments


def test_a_video_of_too_few_frames_is_refused(box):
    answer = post(box, "async_retake", video_file(FRAMES[:3]))
    assert (answer.status_code, answer.json()["field"]) == (422, "video")
    assert post(box, "async_extend", video_file(FRAMES[:3]), duration=1).status_code == 200

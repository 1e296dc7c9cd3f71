"""Audio to video, from the body of a request to the input file of its task."""

import base64

import numpy as np
import pytest

from tests.ingress.conftest import PROMPT, Box, image_file
from tests.ingress.media import audio_file, decode_audio, inputs_of, tone


def post(box: Box, audio: bytes | None, route: str = "async_a2v", key: str | None = None, **fields: object):
    data = {"prompt": PROMPT, **{name: str(value) for name, value in fields.items()}}
    files = {} if audio is None else {"audio": ("voice.ogg", audio)}
    headers = {} if key is None else {"Idempotency-Key": key}
    return box.client.post(f"/v1/video/{route}", data=data, files=files or {"x": ("", b"")}, headers=headers)


def test_the_length_of_the_video_is_that_of_the_audio(box):
    answer = post(box, audio_file(2.0), num_frames=97, frame_rate=30)
    assert answer.status_code == 200, answer.text
    (adjusted,) = answer.json()["adjusted"]
    assert (adjusted["field"], adjusted["given"], adjusted["used"]) == ("num_frames", 97, 60)
    task = box.row(answer.json()["task_id"])
    assert task.request.num_frames == 60
    audio = inputs_of(box, task.id).audio
    samples = decode_audio(audio.content)
    assert (audio.strength, samples.shape) == (1.0, (2, 96_000))
    assert np.abs(samples - tone(2.0)).max() < 1e-3


def test_a_part_of_the_audio_is_used(box):
    answer = post(box, audio_file(3.0), audio_start=0.5, duration=1.2, audio_strength=0.5)
    task_id = answer.json()["task_id"]
    assert box.row(task_id).request.num_frames == 30
    audio = inputs_of(box, task_id).audio
    samples = decode_audio(audio.content)
    assert (audio.strength, samples.shape[1]) == (0.5, 57_600)
    assert np.abs(samples - tone(3.0)[:, 24_000:81_600]).max() < 1e-3


def test_audio_that_is_too_long_is_cut_and_the_answer_says_so(box):
    answer = post(box, audio_file(25.0, rate_hz=16_000, channels=1))
    assert answer.status_code == 200, answer.text
    (adjusted,) = answer.json()["adjusted"]
    assert (adjusted["field"], adjusted["given"]) == ("duration", 25.0)
    assert 18 < adjusted["used"] <= 20.1


def test_images_become_the_first_and_the_last_frame(box):
    files = {"audio": audio_file(1.0), "image": image_file(), "end_image": image_file()}
    answer = box.client.post("/v1/video/async_a2v", data={"prompt": PROMPT, "end_image_strength": "0.5"}, files=files)
    assert answer.status_code == 200, answer.text
    places = [each.place for each in inputs_of(box, answer.json()["task_id"]).images]
    assert [(place.frame, place.strength) for place in places] == [(0, 1.0), (24, 0.5)]


def test_audio_may_come_as_a_data_url_in_json(box):
    url = "data:audio/wav;base64," + base64.b64encode(audio_file(1.0)).decode()
    answer = box.client.post("/v1/video/async_a2v", json={"prompt": PROMPT, "audio": url})
    assert answer.status_code == 200, answer.text
    assert box.row(answer.json()["task_id"]).request.num_frames == 25


def test_the_same_key_with_other_audio_is_refused(box):
    first = post(box, audio_file(1.0), key="one")
    assert post(box, audio_file(1.0), key="one").json()["task_id"] == first.json()["task_id"]
    assert post(box, audio_file(1.5), key="one").json()["error_code"] == "idempotency_key_reused"
    assert post(box, audio_file(1.0), key="one", audio_start=0.1).json()["error_code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"audio_start": 0.8}, "audio_start"),
        ({"audio_start": "soon"}, "audio_start"),
        ({"audio_start": -1}, "audio_start"),
        ({"duration": 0.2}, "duration"),
        ({"duration": 3}, "duration"),
        ({"duration": "nan"}, "duration"),
        ({"audio_strength": 2}, "audio_strength"),
    ],
)
def test_a_wrong_field_is_named(box, fields, field):
    answer = post(box, audio_file(1.0), **fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_audio_is_required(box):
    answer = post(box, None)
    assert (answer.status_code, answer.json()["field"]) == (422, "audio")


def test_a_file_over_the_limit_is_refused(open_box):
    answer = post(open_box(limits={"max_audio_bytes": 1000}), audio_file(1.0))
    assert (answer.status_code, answer.json()["error_code"]) == (413, "file_too_large")

"""Video-to-video and OpenAI's remix, from the body of a request to the input file of its task and to its answer."""

from collections.abc import Iterator
from unittest.mock import ANY

import openai
import pytest

from models.request.adjustments import STEPS_RUN, Adjustment
from models.request.edits import DEFAULT_STRENGTH, Edit
from storage.tasks import ServedModel
from tests.ingress.conftest import MODEL, PROMPT, Box, completing
from tests.ingress.keys import ALICE, BOB, KEYS, speaking_as
from tests.ingress.media import edit_of, frames_of, video_file
from tests.ingress.test_estimate import DISTILLED, complete_after, estimated
from tests.ingress.test_video_editing import post

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
FRAMES = frames_of(50)


@pytest.fixture(scope="module")
def video() -> bytes:
    return video_file(FRAMES, audio_s=2.0)


@pytest.fixture
def served(served_box, video) -> Iterator[Box]:
    """A server on a real port, and a worker that completes every task with a real video."""
    with completing(served_box()) as box:
        yield box


def client_of(box: Box, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{str(box.client.base_url).rstrip('/')}/v1", api_key=key, max_retries=0)


def remix(box: Box, task_id: str, **fields):
    return box.client.post(f"/v1/videos/video_{task_id}/remix", json={"prompt": PROMPT, **fields})


def test_the_strength_and_the_mode_reach_the_task(box, video):
    answer = post(box, "async_v2v", video, video_strength=0.25, mode="replace_audio_and_video")
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == answer.json()["adjusted"] == []
    assert edit_of(box, answer.json()["task_id"]) == Edit(0, 50, strength=0.25)
    request = box.row(answer.json()["task_id"]).request
    assert (request.width, request.height, request.num_frames) == (128, 64, 50)


def test_by_default_the_audio_stays_and_more_than_half_of_the_frames(box, video):
    source = box.finished(video)
    answer = post(box, "async_v2v", source_task=source)
    assert answer.status_code == 200, answer.text
    task_id = answer.json()["task_id"]
    assert edit_of(box, task_id) == Edit(0, 50, replaces_audio=False, strength=DEFAULT_STRENGTH)
    assert box.row(task_id).source_task == source


def test_only_the_steps_that_are_run_count(open_box, video):
    box = open_box()
    task_id = post(box, "async_v2v", video, video_strength=0.75, num_inference_steps=40).json()["task_id"]
    assert box.poll(task_id)["num_inference_steps"] == 10
    assert box.row(task_id).request.num_inference_steps == 40
    box = open_box()
    box.tasks.record_model(ServedModel(MODEL, DISTILLED, None))
    task_id = post(box, "async_v2v", video, video_strength=0.75).json()["task_id"]
    assert box.row(task_id).adjustments[-1] == Adjustment("num_inference_steps", None, 2, STEPS_RUN)
    assert box.poll(task_id)["num_inference_steps"] == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"video_strength": 1.5}, "video_strength"),
        ({"video_strength": "much"}, "video_strength"),
        ({"mode": "replace_audio"}, "mode"),
        ({"source_task": "x"}, "source_task"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(box, video, fields, field):
    answer = post(box, "async_v2v", video, **fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert not list(box.folder.glob("store/inputs/*"))


def test_a_video_that_the_model_cannot_render_at_once_is_refused(open_box, video):
    for limits in ({"max_frames": 49}, {"max_duration_s": 1.5}):
        answer = post(open_box(limits=limits), "async_v2v", video)
        assert (answer.status_code, answer.json()["field"]) == (422, "video"), answer.text


def test_the_synchronous_route_waits_for_the_video(box, video):
    with completing(box):
        answer = post(box, "v2v", video)
        assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text


def test_an_estimate_counts_the_steps_that_are_run(box):
    same = {"num_frames": 25, "num_inference_steps": 40}
    complete_after(box, 1000, decoding_s=100, **same)
    whole, all_new, half = (
        estimated(box, prompt=PROMPT, **same, **use)["seconds"]
        for use in ({}, {"use": "v2v", "video_strength": 0}, {"use": "v2v", "video_strength": 0.5})
    )
    assert whole == all_new == pytest.approx(1000, rel=0.05)
    assert half == pytest.approx(100 + 900 / 2, rel=0.05)
    refused = box.client.post("/v1/video/estimate", json={"prompt": PROMPT, **same, "use": "v2v", "video_strength": 2})
    assert refused.json()["field"] == "video_strength"


def test_the_openai_package_remixes_a_video(served, video):
    client = client_of(served)
    first = client.videos.create_and_poll(prompt=PROMPT, size="1280x720")
    served.outputs.put(f"outputs/ltx2_{first.id.removeprefix('video_')}.mp4", video)
    second = client.videos.remix(first.id, prompt="At night.", extra_body={"video_strength": 0.3, "seed": 7})
    assert (second.remixed_from_video_id, second.prompt, second.size) == (first.id, "At night.", "128x64")
    done = client.videos.poll(second.id)
    assert (done.status, done.remixed_from_video_id) == ("completed", first.id)
    assert served.row(second.id.removeprefix("video_")).request.seed == 7
    listed = {each.id: each.remixed_from_video_id for each in client.videos.list()}
    assert listed == {first.id: None, second.id: first.id}


def test_a_remix_takes_the_fields_of_a_create(box, video):
    source = box.finished(video)
    extra = {"video_strength": 0.5, "mode": "replace_audio_and_video"}
    answer = remix(box, source, model="sora-2", seconds="12", size="1280x720", guidance_scale=2, extra_body=extra, x=1)
    assert answer.status_code == 200, answer.text
    told = {each["field"]: (each["given"], each["used"]) for each in answer.json()["adjusted"]}
    assert told == {"model": ("sora-2", MODEL), "seconds": ("12", "2"), "size": ("1280x720", "128x64")}
    assert answer.json()["ignored"] == ["x"]
    task_id = answer.json()["id"].removeprefix("video_")
    assert edit_of(box, task_id) == Edit(0, 50, strength=0.5)
    assert box.row(task_id).request.cfg_scale_video == 2
    assert "openai-poll-after-ms" in answer.headers


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"video_strength": 7}, "video_strength"),
        ({"model": "other"}, "model"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"input_reference": "data:image/png;base64,"}, "input_reference"),
        ({"mode": "end"}, "mode"),
    ],
)
def test_a_wrong_field_of_a_remix_is_named_as_openai_names_it(box, video, fields, param):
    answer = remix(box, box.finished(video), **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == {"message": ANY, "type": "invalid_request_error", "param": param, "code": ANY}


def test_a_video_that_cannot_be_remixed_is_an_error_with_the_reason(served_box, video):
    box = served_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        source, waiting = box.finished(video), box.submit()
    alice, bob = (client_of(box, key.removeprefix("Bearer ")) for key in (ALICE, BOB))
    with pytest.raises(openai.NotFoundError, match="there is no video"):
        bob.videos.remix(f"video_{source}", prompt=PROMPT)
    for unknown in ("video_" + "0" * 32, "x"):
        with pytest.raises(openai.NotFoundError):
            alice.videos.remix(unknown, prompt=PROMPT)
    with pytest.raises(openai.ConflictError, match="its status is queued"):
        alice.videos.remix(f"video_{waiting}", prompt=PROMPT)
    assert alice.videos.remix(f"video_{source}", prompt=PROMPT).status == "queued"
    box.outputs.delete(f"outputs/ltx2_{source}.mp4")
    with pytest.raises(openai.APIStatusError) as gone:
        alice.videos.remix(f"video_{source}", prompt=PROMPT)
    assert (gone.value.status_code, gone.value.code) == (410, "gone")


def test_a_remix_is_repeated_by_its_key_after_its_source_was_deleted(box, video):
    source, key = box.finished(video), {"Idempotency-Key": "one"}
    path = f"/v1/videos/video_{source}/remix"
    first = box.client.post(path, json={"prompt": PROMPT}, headers=key).json()
    box.client.delete(f"/v1/video/tasks/{source}")
    again = box.client.post(path, json={"prompt": PROMPT}, headers=key).json()
    assert (again["id"], again["remixed_from_video_id"]) == (first["id"], f"video_{source}")
    assert remix(box, source).status_code == 410

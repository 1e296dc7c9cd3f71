"""Submitting: every promise of the original API document."""

import io
import json
import threading
import time

import pytest
from PIL import Image

from storage.tasks import Failure, State
from tests.ingress.conftest import MODEL, PROMPT, image_file

QUEUED = "Task queued. Poll GET /v1/video/tasks/{task_id}"
EXAMPLE = {
    "prompt": PROMPT,
    "height": 512,
    "width": 768,
    "num_frames": 121,
    "frame_rate": 24.0,
    "num_inference_steps": 40,
    "seed": 42,
}


def image_part(content: bytes | None = None) -> dict:
    return {"image": ("photo.png", image_file() if content is None else content, "image/png")}


def test_the_documents_own_example_is_taken(box):
    answer = box.client.post("/v1/video/async_t2v", json=EXAMPLE)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["message"]) == ("processing", QUEUED)
    assert body["task_id"] == box.claim().id
    assert {name: getattr(box.row(body["task_id"]).request, name) for name in EXAMPLE} == EXAMPLE
    assert (body["seed"], body["model"], body["ignored"]) == (42, MODEL, [])


def test_a_submit_nudges_the_dispatcher(box):
    box.submit()
    assert len(box.nudges) == 1


def test_everything_but_the_prompt_has_the_documents_default(box):
    request = box.row(box.submit()).request
    assert (request.height, request.width, request.num_frames, request.frame_rate) == (512, 768, 121, 25.0)
    assert (request.num_inference_steps, request.seed) == (40, 42)
    assert (request.cfg_scale_video, request.stg_scale_video) == (3.0, 1.0)
    assert (request.cfg_scale_audio, request.modality_scale) == (7.0, 3.0)


def test_image_to_video_takes_the_same_parameters_with_the_same_defaults(box):
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT}, files=image_part())
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["message"], body["ignored"]) == ("processing", QUEUED, [])
    assert box.row(body["task_id"]).request == box.row(box.submit()).request


def test_every_field_of_a_form_arrives(box):
    fields = {
        "prompt": "She turns — and smiles",
        "height": "704",
        "width": "448",
        "num_frames": "49",
        "frame_rate": "29.97",
        "num_inference_steps": "20",
        "seed": "7",
        "cfg_scale_video": "0",
        "stg_scale_video": "0.5",
        "cfg_scale_audio": "2",
        "modality_scale": "1e0",
        "negative_prompt": "",
        "fit": "pad",
    }
    answer = box.client.post("/v1/video/async_i2v", data=fields, files=image_part())
    request = box.row(answer.json()["task_id"]).request
    assert (request.prompt, request.negative_prompt) == ("She turns — and smiles", "")
    assert (request.height, request.width, request.num_frames, request.frame_rate) == (704, 448, 49, 29.97)
    assert (request.num_inference_steps, request.seed, request.fit) == (20, 7, "pad")
    assert (request.cfg_scale_video, request.stg_scale_video) == (0, 0.5)
    assert (request.cfg_scale_audio, request.modality_scale) == (2, 1)


def test_the_image_is_kept_at_the_size_of_the_video(box):
    sent = box.client.post(
        "/v1/video/async_i2v", data={"prompt": "x", "height": 128, "width": 256}, files=image_part()
    ).json()
    key = box.row(sent["task_id"]).input_key
    assert key == f"inputs/{sent['task_id']}"
    assert Image.open(io.BytesIO(b"".join(box.outputs.open(key)))).size == (256, 128)


def test_fit_match_takes_the_shape_of_the_image(box):
    portrait = image_file(300, 600)
    sent = box.client.post("/v1/video/async_i2v", data={"prompt": "x", "fit": "match"}, files=image_part(portrait))
    request = box.row(sent.json()["task_id"]).request
    assert request.height > request.width
    assert request.height % 64 == request.width % 64 == 0


def test_a_text_task_keeps_no_image(box):
    assert box.row(box.submit()).input_key is None
    assert not (box.folder / "store" / "inputs").exists()


def test_numbers_sent_as_strings_are_taken(box):
    request = box.row(box.submit(height="256", num_frames="9", frame_rate="23.976", seed="5")).request
    assert (request.height, request.num_frames, request.frame_rate, request.seed) == (256, 9, 23.976, 5)


def test_unknown_fields_are_taken_and_named(box):
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "x", "hight": 256, "steps": [1, {}]})
    assert (answer.status_code, answer.json()["ignored"]) == (200, ["hight", "steps"])
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": "x", "cfg": "7"}, files=image_part())
    assert (answer.status_code, answer.json()["ignored"]) == (200, ["cfg"])
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files={**image_part(), "mask": b"x"})
    assert (answer.status_code, answer.json()["ignored"]) == (200, ["mask"])


def test_an_unknown_field_with_a_name_that_is_no_text_is_taken_too(box):
    answer = box.client.post("/v1/video/async_t2v", content=b'{"prompt": "x", "\\ud800": 1}')
    assert (answer.status_code, answer.json()["ignored"]) == (200, ["\\ud800"])


def test_an_open_seed_is_drawn_and_reported(box):
    drawn = []
    for answer in (
        box.client.post("/v1/video/async_t2v", json={"prompt": "x", "seed": None}),
        box.client.post("/v1/video/async_i2v", data={"prompt": "x", "seed": ""}, files=image_part()),
        box.client.post("/v1/video/async_i2v", data={"prompt": "x", "seed": "null"}, files=image_part()),
    ):
        body = answer.json()
        assert body["seed"] == box.row(body["task_id"]).request.seed == box.poll(body["task_id"])["seed"]
        drawn.append(body["seed"])
    assert len(set(drawn)) == 3


def test_the_largest_seed_arrives_exactly(box):
    assert box.row(box.submit(seed=2**53 - 1)).request.seed == 2**53 - 1


def test_json_is_taken_whatever_its_content_type_says(box):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", ""):
        answer = box.client.post("/v1/video/async_t2v", content=json.dumps(EXAMPLE), headers={"content-type": kind})
        assert answer.status_code == 200, kind


def test_media_types_are_read_in_any_case(box):
    request = box.client.build_request("POST", "/v1/video/async_i2v", data={"prompt": "x"}, files=image_part())
    request.headers["content-type"] = request.headers["content-type"].replace(
        "multipart/form-data", "Multipart/Form-Data"
    )
    assert box.client.send(request).status_code == 200


# -- the synchronous routes


def work(box, end) -> threading.Thread:
    """Start a worker that ends the next task with `end(task)`."""

    def run() -> None:
        while not (claimed := box.tasks.claim("alice", MODEL, 1, 60)):
            time.sleep(0.01)
        box.tasks.start_run(claimed[0])
        end(claimed[0])

    worker = threading.Thread(target=run)
    worker.start()
    return worker


def ask_and_wait(box, route: str):
    if route == "i2v":
        return box.client.post("/v1/video/i2v", data={"prompt": "x", "typo": "1"}, files=image_part())
    return box.client.post("/v1/video/t2v", json={"prompt": "x", "typo": 1})


@pytest.mark.parametrize("route", ["t2v", "i2v"])
def test_a_synchronous_route_answers_with_the_final_poll_body(box, route):
    worker = work(box, box.complete)
    answer = ask_and_wait(box, route)
    worker.join()
    body = answer.json()
    assert answer.status_code == 200
    assert body.pop("ignored") == ["typo"]
    assert body == box.poll(body["task_id"])
    assert body["url"] == f"http://192.168.1.26:8004/outputs/ltx2_{body['task_id']}.mp4"


@pytest.mark.parametrize("route", ["t2v", "i2v"])
def test_a_task_that_failed_is_a_500_with_the_error(box, route):
    worker = work(box, lambda task: box.tasks.fail(task, Failure("out of memory", "out_of_memory", retryable=False)))
    answer = ask_and_wait(box, route)
    worker.join()
    body = answer.json()
    assert answer.status_code == 500
    assert (body["status"], body["error"], body["error_code"]) == ("failed", "out of memory", "out_of_memory")
    assert body["retryable"] is False
    assert body.pop("ignored") == ["typo"]
    assert body == box.poll(body["task_id"])


def test_a_canceled_task_ends_the_wait(box):
    worker = work(box, lambda task: box.tasks.cancel(task.id))
    answer = ask_and_wait(box, "t2v")
    worker.join()
    assert (answer.status_code, answer.json()["error_code"]) == (409, "canceled")


def test_many_wait_at_once_and_each_gets_its_own(box):
    answers: dict[str, str] = {}

    def ask(name: str) -> None:
        body = box.client.post("/v1/video/t2v", json={"prompt": name}).json()
        answers[name] = box.row(body["task_id"]).request.prompt

    asking = [threading.Thread(target=ask, args=(f"number {number}",)) for number in range(5)]
    for thread in asking:
        thread.start()
    workers = [work(box, box.complete) for _ in asking]
    for thread in (*asking, *workers):
        thread.join()
    assert answers == {name: name for name in answers}
    assert len(answers) == 5


def test_a_synchronous_route_refuses_bad_input_at_once(box):
    assert box.client.post("/v1/video/t2v", json={"prompt": ""}).status_code == 422
    assert box.client.post("/v1/video/i2v", data={"prompt": "x"}).status_code == 422
    assert box.tasks.counts()[State.QUEUED] == 0


# -- space for the output


def test_without_room_for_its_video_a_task_is_not_taken(open_box):
    """The setting requires more free space than any disk has."""
    box = open_box(outputs={"min_free_bytes": 10**18})
    text, form = {"json": {"prompt": PROMPT}}, {"data": {"prompt": PROMPT}, "files": {"image": image_file()}}
    for path, body in (("async_t2v", text), ("async_i2v", form), ("t2v", text), ("i2v", form)):
        answer = box.client.post(f"/v1/video/{path}", **body)
        assert (answer.status_code, answer.json()["error_code"]) == (507, "storage_full"), path
        assert "outputs.min_free_bytes keeps 1000000000000000000 free" in answer.json()["error"]
    assert box.client.post("/v1/video/async_t2v", json={"prompt": ""}).status_code == 422
    assert box.tasks.counts()[State.QUEUED] == 0
    assert not (box.folder / "store").exists()


def test_an_operator_may_use_the_disk_to_the_last_byte(open_box):
    assert open_box(outputs={"min_free_bytes": 0}).submit()

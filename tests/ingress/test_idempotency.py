"""Idempotency-Key: a repeated submit creates no second task."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployments.ingress.submission import LATER_FIELDS
from models.request.request import RequestLimits, parse_request
from storage.tasks import Idempotency, NewTask, State
from tests.ingress.conftest import MODEL, PROMPT, image_file


def send(box, key: str | None, route: str = "async_t2v", **fields):
    headers = {} if key is None else {"Idempotency-Key": key}
    return box.client.post(f"/v1/video/{route}", json={"prompt": PROMPT, **fields}, headers=headers)


def send_image(box, key: str, image: bytes, **fields):
    files = {"image": ("p.png", image)}
    headers = {"Idempotency-Key": key}
    return box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT, **fields}, files=files, headers=headers)


def inputs(box) -> list[str]:
    folder = box.folder / "store" / "inputs"
    return [each.name for each in folder.iterdir()] if folder.exists() else []


def test_the_same_key_and_request_give_the_same_answer(box):
    first, again = send(box, "k1", typo=1), send(box, "k1", typo=1)
    assert (again.status_code, again.json()) == (200, first.json())
    assert box.tasks.counts()[State.QUEUED] == 1


def test_without_a_key_or_with_another_each_submit_is_a_task(box):
    ids = [send(box, key).json()["task_id"] for key in (None, None, "a", "b")]
    assert len(set(ids)) == 4


def test_a_default_that_is_spelt_out_is_the_same_request(box):
    first = send(box, "k", num_inference_steps=40, height=512)
    assert send(box, "k").json()["task_id"] == first.json()["task_id"]
    assert send(box, "k", height="512").json()["task_id"] == first.json()["task_id"]


def test_a_strength_that_is_spelt_out_is_the_same_request(box):
    first = send_image(box, "k", image_file())
    assert send_image(box, "k", image_file(), image_strength="1").json()["task_id"] == first.json()["task_id"]


def test_a_submit_may_be_repeated_after_an_upgrade(box):
    """The digest is that of a version without the later fields, while they have their defaults."""
    request = parse_request({"prompt": PROMPT}, RequestLimits())
    earlier = hashlib.sha256(f"{request.model_dump_json(exclude=set(LATER_FIELDS))} ".encode()).hexdigest()
    box.tasks.submit(NewTask(request, MODEL, "http://h", idempotency=Idempotency("k", earlier)), 10)
    assert send(box, "k").status_code == 200
    assert send(box, "k", generate_audio=True, enhance_prompt=False).status_code == 200
    assert send(box, "k", generate_audio=False).status_code == 422


def test_a_seed_that_the_server_draws_is_drawn_once(box):
    first, again = send(box, "k", seed=None), send(box, "k", seed=None)
    assert first.json() == again.json()
    assert send(box, "k", seed=first.json()["seed"]).status_code == 422


def test_another_request_under_a_used_key_is_refused(box):
    send(box, "k")
    answer = send(box, "k", seed=7)
    assert (answer.status_code, answer.json()["error_code"]) == (422, "idempotency_key_reused")
    assert "Idempotency-Key" in answer.json()["error"]
    assert answer.json()["retryable"] is False
    assert box.tasks.counts()[State.QUEUED] == 1


def test_the_image_belongs_to_the_request(box):
    image, other = image_file(), image_file(64, 96)
    first, again = send_image(box, "k", image), send_image(box, "k", image)
    assert again.json() == first.json()
    assert inputs(box) == [first.json()["task_id"]]
    assert send_image(box, "k", other).json()["error_code"] == "idempotency_key_reused"
    assert inputs(box) == [first.json()["task_id"]]
    assert send(box, "k").json()["error_code"] == "idempotency_key_reused"


def test_a_submit_that_was_refused_uses_up_no_key(box):
    assert send(box, "k", height=100).status_code == 422
    assert send(box, "k").status_code == 200


def test_a_key_outlives_its_task(box):
    task_id = send(box, "k").json()["task_id"]
    box.complete(box.start())
    assert send(box, "k").json()["task_id"] == task_id
    box.client.delete(f"/v1/video/tasks/{task_id}")
    assert send(box, "k").json()["task_id"] == task_id


def test_a_synchronous_submit_that_is_sent_again_gets_the_video_that_is_there(box):
    task_id = send(box, "k").json()["task_id"]
    box.complete(box.start())
    answer = send(box, "k", route="t2v")
    assert (answer.status_code, answer.json()["task_id"], answer.json()["status"]) == (200, task_id, "completed")


def test_many_at_once_with_one_key_make_one_task(box):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(box, "k").json()["task_id"], range(8)))
    assert len(set(answers)) == 1
    assert box.tasks.counts()[State.QUEUED] == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", b"\xe9"])
def test_a_key_that_cannot_be_taken_names_the_header(box, key):
    answer = send(box, key)
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")

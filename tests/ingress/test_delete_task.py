"""DELETE: queued, running and finished tasks, once and repeatedly."""

import pytest

from models.progress import Progress, Stage
from storage.outputs.store import input_key
from storage.tasks import Failure
from tests.ingress.conftest import PROMPT, image_file


def remove(box, task_id: str) -> dict:
    answer = box.client.delete(f"/v1/video/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_queued_task_is_canceled_and_never_starts(box):
    task_id = box.submit()
    assert remove(box, task_id) == {
        "task_id": task_id,
        "status": "failed",
        "state": "canceled",
        "outcome": "canceled",
    }
    assert box.poll(task_id)["error_code"] == "canceled"
    assert box.tasks.claim("alice", "Lightricks/LTX-2", 1, 60) == []


def test_a_running_task_is_canceled_and_its_worker_learns_so_at_the_next_report(box):
    task_id = box.submit()
    task = box.start()
    assert remove(box, task_id)["outcome"] == "canceled"
    assert not box.tasks.report_progress(task, Progress(Stage.DENOISING, 3))
    assert box.poll(task_id)["state"] == "canceled"


def test_the_image_of_a_canceled_task_goes_too(box):
    form = {"data": {"prompt": PROMPT}, "files": {"image": ("p.png", image_file())}}
    task_id = box.client.post("/v1/video/async_i2v", **form).json()["task_id"]
    assert box.outputs.stat(input_key(task_id))
    remove(box, task_id)
    assert box.outputs.stat(input_key(task_id)) is None


def test_a_finished_task_is_deleted_with_its_files(box):
    task_id = box.finished()
    url, poster_url = (box.poll(task_id)[name] for name in ("url", "poster_url"))
    assert remove(box, task_id) == {"task_id": task_id, "status": "failed", "state": "deleted", "outcome": "deleted"}
    assert [box.client.get(each).status_code for each in (url, poster_url)] == [404, 404]
    body = box.poll(task_id)
    assert (body["status"], body["state"], body["error_code"]) == ("failed", "deleted", "deleted")
    assert body["finished_at"]
    assert not {"url", "poster_url", "size_bytes"} & body.keys()


def test_deleting_one_task_leaves_the_others(box):
    kept, gone = box.finished(), box.finished()
    remove(box, gone)
    assert box.client.get(box.poll(kept)["url"]).status_code == 200


def test_asking_again_does_no_harm_and_says_what_happened(box):
    task_id = box.submit()
    assert [remove(box, task_id)["outcome"] for _ in range(4)] == [
        "canceled",
        "deleted",
        "already_deleted",
        "already_deleted",
    ]


def test_a_failed_task_is_deleted(box):
    task_id = box.submit()
    box.tasks.fail(box.start(), Failure("no", "render_failed", retryable=False))
    assert remove(box, task_id)["outcome"] == "deleted"
    assert box.poll(task_id)["error_code"] == "deleted"


def test_a_second_call_removes_the_files_that_the_first_could_not(box):
    task_id = box.finished()
    box.tasks.delete(task_id)
    assert remove(box, task_id)["outcome"] == "already_deleted"
    assert list((box.folder / "store" / "outputs").iterdir()) == []


@pytest.mark.parametrize("name", ["abc123", "0" * 32, "x" * 3000, "%2e%2e", "%00", "🎥", "a%00b", "..%2f..%2fetc"])
def test_an_unknown_task_is_404(box, name):
    answer = box.client.delete(f"/v1/video/tasks/{name}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")

"""Polling: the body in every state, and urls that the client can reach."""

import time

import pytest

from deployments.ingress.schemas import task_status
from models.progress import Progress, Stage
from models.request.adjustments import Adjustment
from storage.tasks import Failure, State
from tests.ingress.conftest import MODEL


def test_a_queued_task_reads_processing_with_its_place(box):
    first, second = box.submit(), box.submit(seed=5, num_inference_steps=20)
    body = box.poll(second)
    assert abs(body.pop("created_at") - time.time()) < 10
    assert body == {
        "task_id": second,
        "status": "processing",
        "state": "queued",
        "num_inference_steps": 20,
        "quality": "exact",
        "progress": 0.0,
        "queue_position": 2,
        "seed": 5,
        "model": MODEL,
    }
    assert box.poll(first)["queue_position"] == 1


def test_a_task_names_the_quality_that_was_asked_for(box):
    assert box.poll(box.submit(quality="fast"))["quality"] == "fast"


def test_while_paused_health_and_every_queued_task_say_so_and_submits_are_taken(box):
    box.finished()
    waits = box.submit()
    assert box.tasks.pause()
    later = box.submit()
    for body in (box.poll(waits), box.poll(later), *box.client.get("/v1/video/tasks?state=queued").json()["tasks"]):
        assert (body["paused"], body["status"]) == (True, "processing")
        assert "eta_s" not in body, "nobody can know"
    health = box.client.get("/health").json()
    assert health["status"] == "ok"
    assert abs(health["paused_at"] - time.time()) < 10
    assert box.tasks.resume()
    assert "paused" not in box.poll(waits)
    assert box.poll(waits)["eta_s"] >= 0
    assert "paused_at" not in box.client.get("/health").json()


def test_a_claimed_task_still_reads_queued(box):
    task_id = box.submit()
    before = box.poll(task_id)
    box.claim()
    assert box.poll(task_id) == before


def test_a_running_task_shows_stage_step_and_progress(box):
    task_id = box.submit()
    task = box.start()
    seen = []
    for progress in (
        Progress(Stage.DOWNLOADING, 0, 1_000_000, 4_000_000),
        Progress(Stage.LOADING, 0, 1, 2),
        Progress(Stage.DENOISING, 10),
        Progress(Stage.DENOISING, 40),
        Progress(Stage.DECODING, 40),
        Progress(Stage.ENCODING, 40),
    ):
        box.tasks.report_progress(task, progress)
        body = box.poll(task_id)
        assert (body["status"], body["state"], body["stage"]) == ("processing", "processing", progress.stage)
        assert (body["step"], body["num_inference_steps"]) == (progress.step, 40)
        assert body.get("bytes_total") == (progress.bytes_total or None)
        assert body["started_at"] >= body["created_at"]
        assert "queue_position" not in body
        assert "url" not in body
        seen.append(body["progress"])
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] < 1


def test_the_first_bytes_of_a_download_show(box):
    task_id = box.submit()
    box.tasks.report_progress(box.start(), Progress(Stage.DOWNLOADING, 0, 0, 4_000_000))
    body = box.poll(task_id)
    assert (body["bytes_done"], body["bytes_total"]) == (0, 4_000_000)


def test_a_completed_task_has_its_url_and_what_the_file_is(box):
    task_id = box.finished()
    body = box.poll(task_id)
    assert (body["status"], body["state"], body["progress"]) == ("completed", "completed", 1.0)
    assert body["url"] == f"http://192.168.1.26:8004/outputs/ltx2_{task_id}.mp4"
    assert body["poster_url"] == f"http://192.168.1.26:8004/outputs/ltx2_{task_id}.jpg"
    assert (body["duration_s"], body["size_bytes"]) == (4.84, 10240)
    assert body["created_at"] <= body["started_at"] <= body["finished_at"]
    assert not {"error", "error_code", "retryable", "stage", "step", "queue_position"} & body.keys()


def test_a_failed_task_says_why(box):
    task_id = box.submit()
    box.tasks.fail(box.start(), Failure("needs 40 GB, there are 24", "out_of_memory", retryable=False))
    body = box.poll(task_id)
    assert (body["status"], body["state"]) == ("failed", "failed")
    assert (body["error"], body["error_code"]) == ("needs 40 GB, there are 24", "out_of_memory")
    assert body["retryable"] is False
    assert body["finished_at"]
    assert "url" not in body


def test_a_canceled_task_reads_failed_with_an_error(box):
    task_id = box.submit()
    box.tasks.cancel(task_id)
    body = box.poll(task_id)
    assert (body["status"], body["state"], body["error_code"]) == ("failed", "canceled", "canceled")
    assert body["error"]


@pytest.mark.parametrize("name", ["abc123", "0" * 32, "x" * 3000, "%2e%2e", "ltx2_x.mp4", "%00", "🎥", "' OR 1=1--"])
def test_an_unknown_task_is_404(box, name):
    answer = box.client.get(f"/v1/video/tasks/{name}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")
    assert len(answer.text) < 500


# -- urls


def test_the_url_begins_with_the_requests_own_host(box):
    task_id = box.finished()
    for host in ("localhost:8004", "video.example", "[::1]:8004"):
        assert box.poll(task_id, headers={"host": host})["url"].startswith(f"http://{host}/outputs/")


FORWARDED = {"x-forwarded-host": "public.example", "x-forwarded-proto": "https", "host": "inside:8004"}


def test_forwarded_headers_are_not_believed_without_a_trusted_proxy(box):
    task_id = box.finished()
    assert box.poll(task_id, headers=FORWARDED)["url"].startswith("http://inside:8004/outputs/")


def test_forwarded_headers_are_believed_from_a_trusted_proxy(open_box):
    box = open_box(trusted_proxy=True)
    task_id = box.finished()
    assert box.poll(task_id, headers=FORWARDED)["url"].startswith("https://public.example/outputs/")
    assert box.poll(task_id, headers={"host": "inside:8004"})["url"].startswith("http://inside:8004/outputs/")


def test_a_public_base_url_wins_over_every_header(open_box):
    for public in ("https://cdn.example/video", "https://cdn.example/video/"):
        box = open_box(public_base_url=public, trusted_proxy=True)
        task_id = box.finished()
        assert box.poll(task_id, headers=FORWARDED)["url"] == f"https://cdn.example/video/outputs/ltx2_{task_id}.mp4"


def test_a_poll_while_the_store_is_away_is_a_503_that_says_try_again(box):
    task_id = box.submit()
    box.tasks.close()
    for file in box.folder.glob("tasks.db*"):
        file.unlink()
    answer = box.client.get(f"/v1/video/tasks/{task_id}")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "store_unavailable")
    assert answer.json()["retryable"] is True
    assert answer.headers["retry-after"]
    assert box.client.post("/v1/video/async_t2v", json={"prompt": "x"}).status_code == 503


def test_every_state_reads_as_one_of_the_three_words_that_older_clients_know():
    words = {state: task_status(state) for state in State}
    assert words == {
        State.QUEUED: "processing",
        State.PROCESSING: "processing",
        State.COMPLETED: "completed",
        State.FAILED: "failed",
        State.CANCELED: "failed",
        State.EXPIRED: "failed",
        State.DELETED: "failed",
    }


def test_what_the_model_cannot_use_is_named_and_its_steps_are_those_it_takes(box):
    task_id = box.submit(num_inference_steps=40)
    box.tasks.record_adjustments(
        box.start(), [Adjustment("num_inference_steps", 40, 8, "a distilled model has fixed steps")]
    )
    body = box.poll(task_id)
    assert body["num_inference_steps"] == 8
    assert body["adjusted"] == [
        {"field": "num_inference_steps", "given": 40, "used": 8, "reason": "a distilled model has fixed steps"}
    ]


def test_a_poll_says_until_when_the_file_is_there(open_box):
    box = open_box(retention={"output_ttl_s": 3600})
    task_id = box.finished()
    assert box.poll(task_id)["expires_at"] == box.row(task_id).finished_at + 3600
    (listed,) = box.client.get("/v1/video/tasks").json()["tasks"]
    assert listed["expires_at"] == box.poll(task_id)["expires_at"]
    assert "expires_at" not in box.poll(box.submit())


def test_a_file_that_is_kept_has_no_such_time(open_box):
    box = open_box(retention={"output_ttl_s": None})
    body = box.poll(box.finished())
    assert "url" in body
    assert "expires_at" not in body

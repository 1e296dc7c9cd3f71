"""Responses are counted by route, method and status; submits when they are stored."""

import sqlite3

import pytest

from deployments.observability.metrics.definitions import HTTP_REQUEST_DURATION_SECONDS, HTTP_REQUESTS, TASKS_SUBMITTED
from tests.ingress.conftest import Box, image_file
from tests.metrics.recorded import RecordedMetrics

TASK = "/v1/video/tasks/{task_id}"


@pytest.fixture
def recorded() -> RecordedMetrics:
    return RecordedMetrics()


@pytest.fixture
def box(open_box, recorded) -> Box:
    return open_box(metrics=recorded)


def requests(recorded: RecordedMetrics, route: str, method: str, status: int) -> float:
    return recorded.value(HTTP_REQUESTS, route=route, method=method, status=str(status)) or 0.0


def test_an_answer_counts_under_its_route_and_not_its_path(box, recorded):
    task_id = box.submit()
    box.poll(task_id)
    box.client.delete(f"/v1/video/tasks/{task_id}")
    assert requests(recorded, TASK, "GET", 200) == 1
    assert requests(recorded, TASK, "DELETE", 200) == 1
    assert len(recorded.seen(HTTP_REQUEST_DURATION_SECONDS, route=TASK)) == 2
    assert task_id not in str(recorded.values)


def test_what_a_client_makes_up_is_no_label(box, recorded):
    box.client.get("/nothing/here")
    box.client.request("MADEUP", "/health")
    assert requests(recorded, "unmatched", "GET", 404) == 1
    labels = {value for _, tags in recorded.values for _, value in tags}
    assert not {"/nothing/here", "MADEUP"} & labels


def test_errors_of_the_client_and_of_the_server_count_too(box, recorded):
    box.client.get("/v1/video/tasks/none")
    box.client.post("/v1/video/async_t2v", json={})
    task_id = box.submit()
    with sqlite3.connect(box.folder / "tasks.db") as damaged:
        damaged.execute("UPDATE tasks SET request = '{}'")
    damaged.close()
    assert box.client.get(f"/v1/video/tasks/{task_id}").status_code == 500
    assert requests(recorded, TASK, "GET", 404) == 1
    assert requests(recorded, "/v1/video/async_t2v", "POST", 422) == 1
    assert requests(recorded, TASK, "GET", 500) == 1


def test_a_submit_counts_once_by_what_it_starts_from(box, recorded):
    for _ in range(2):
        box.client.post("/v1/video/async_t2v", json={"prompt": "x"}, headers={"Idempotency-Key": "k"})
    files = {"image": ("photo.png", image_file())}
    assert box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files=files).status_code == 200
    assert recorded.value(TASKS_SUBMITTED, kind="text") == 1
    assert recorded.value(TASKS_SUBMITTED, kind="image") == 1

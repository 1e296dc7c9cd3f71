"""A bounded queue, and the estimates from the measured throughput."""

import pytest
from sqlalchemy import update

from deployments.ingress.throughput import estimator as pace
from models.progress import Progress, Stage
from storage.db.schema import tasks
from storage.tasks import GeneratorReplica, ReplicaState, State
from tests.ingress.conftest import MODEL, PROMPT, image_file
from tests.ingress.keys import ALICE, BOB, record, speaking_as


@pytest.fixture
def measured(monkeypatch):
    """Do not cache the measurement."""
    monkeypatch.setattr(pace, "CACHE_TTL_S", 0.0)


def finish_in(box, seconds: float, **fields) -> None:
    task_id = box.submit(**fields)
    box.complete(box.start())
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).where(tasks.c.id == task_id).values(started_at=tasks.c.finished_at - seconds))


def test_over_the_bound_a_submit_is_told_when_to_come_back(open_box, measured):
    box = open_box(ingress={"max_queued": 2})
    box.submit()
    box.submit()
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT})
    assert (answer.status_code, answer.json()["error_code"]) == (429, "queue_full")
    assert answer.json()["retryable"] is True
    assert "2 tasks" in answer.json()["error"]
    assert answer.headers["retry-after"] == "30"
    box.start()
    box.submit()


def test_retry_after_is_the_time_in_which_a_task_ends(open_box, measured):
    box = open_box(ingress={"max_queued": 1})
    finish_in(box, 90)
    box.submit()
    refused = [box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT}).headers["retry-after"]]
    for number in range(3):
        box.tasks.put_replica(GeneratorReplica(f"r{number}", MODEL, ReplicaState.READY))
    refused.append(box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT}).headers["retry-after"])
    assert refused == ["90", "30"]


def test_a_refused_image_is_not_kept_and_uses_up_no_key(open_box):
    box = open_box(ingress={"max_queued": 1})
    box.submit()
    form = {"data": {"prompt": PROMPT}, "files": {"image": ("p.png", image_file())}}
    headers = {"Idempotency-Key": "k"}
    assert box.client.post("/v1/video/async_i2v", **form, headers=headers).status_code == 429
    assert list((box.folder / "store").glob("inputs/*")) == []
    box.start()
    assert box.client.post("/v1/video/async_i2v", **form, headers=headers).status_code == 200


def test_a_submit_that_is_sent_again_is_answered_although_the_queue_is_full(open_box):
    box = open_box(ingress={"max_queued": 1})
    asked = {"json": {"prompt": PROMPT}, "headers": {"Idempotency-Key": "k"}}
    first, again = (box.client.post("/v1/video/async_t2v", **asked) for _ in range(2))
    assert (again.status_code, again.json()) == (200, first.json())


def test_a_deadline_is_shown_and_kept(box):
    task_id = box.submit(timeout_s=2.5)
    assert box.poll(task_id)["timeout_s"] == 2.5
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).values(deadline_at=tasks.c.deadline_at - 3))
    assert [task.id for task in box.tasks.fail_overdue()] == [task_id]
    body = box.poll(task_id)
    assert (body["status"], body["error_code"], body["retryable"]) == ("failed", "timeout", True)
    assert "timeout_s" in body["error"]


@pytest.mark.parametrize("given", [0, -1, 604801, "soon", True])
def test_a_deadline_that_cannot_be_taken_names_its_bounds(box, given):
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "timeout_s": given})
    assert (answer.status_code, answer.json()["field"]) == (422, "timeout_s")
    assert answer.json()["allowed"] == "a number from 1 to 604800, or null for no deadline"


@pytest.mark.parametrize(("given", "kept"), [("", None), ("null", None), ("90", 90.0)])
def test_a_form_can_have_a_deadline(box, given, kept):
    form = {"data": {"prompt": PROMPT, "timeout_s": given}, "files": {"image": ("p.png", image_file())}}
    task_id = box.client.post("/v1/video/async_i2v", **form).json()["task_id"]
    assert box.row(task_id).request.timeout_s == kept


def test_nobody_guesses_before_a_task_has_ended(box):
    assert "eta_s" not in box.poll(box.submit())


def test_a_poll_says_when_it_will_be_done_from_tasks_of_its_size(box, measured):
    finish_in(box, 10)
    finish_in(box, 30)
    finish_in(box, 50)
    finish_in(box, 400, num_inference_steps=80)
    first, second = box.submit(), box.submit(num_inference_steps=80)
    assert box.poll(first)["eta_s"] == pytest.approx(30 + 40, abs=0.2)
    assert box.poll(second)["eta_s"] == pytest.approx(400 + 2 * 40, abs=0.2)
    task = box.start()
    assert box.poll(first)["eta_s"] == pytest.approx(30, abs=0.2)
    box.tasks.report_progress(task, Progress(Stage.DENOISING, 20))
    assert 0 < box.poll(first)["eta_s"] < 20
    box.complete(task)
    assert "eta_s" not in box.poll(first)


def test_a_size_that_was_never_made_is_judged_by_its_work(box, measured):
    finish_in(box, 40)
    task_id = box.submit(num_inference_steps=80)
    assert box.poll(task_id)["eta_s"] == pytest.approx(80 + 40, abs=0.2)


def test_more_generators_mean_less_waiting(box, measured):
    finish_in(box, 40)
    box.tasks.put_replica(GeneratorReplica("r1", MODEL, ReplicaState.READY))
    box.tasks.put_replica(GeneratorReplica("r2", MODEL, ReplicaState.READY))
    box.tasks.put_replica(GeneratorReplica("r3", "another model", ReplicaState.READY))
    assert box.poll(box.submit())["eta_s"] == pytest.approx(40 + 20, abs=0.2)
    assert box.tasks.counts()[State.QUEUED] == 1


def test_a_key_with_a_bound_of_its_own_waits_for_its_own_tasks(open_box, measured):
    box = open_box(api_keys=[record("alice", ALICE, max_running=1), record("bob", BOB)])
    for number in range(4):
        box.tasks.put_replica(GeneratorReplica(f"r{number}", MODEL, ReplicaState.READY))
    with speaking_as(box, ALICE):
        finish_in(box, 40)
        box.submit()
        box.start()
        mine = [box.submit() for _ in range(2)]
        assert [box.poll(each)["eta_s"] for each in mine] == pytest.approx([40 + 40, 40 + 80], abs=0.2)
        listed = box.client.get("/v1/video/tasks", params={"state": "queued"}).json()["tasks"]
        assert [each["eta_s"] for each in listed] == pytest.approx([40 + 80, 40 + 40], abs=0.2)
    with speaking_as(box, BOB):
        assert box.poll(box.submit())["eta_s"] < 40 + 40

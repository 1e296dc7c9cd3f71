"""Estimates for future tasks from a fixed part and a part by work, and for a running task from its own steps."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, update

from deployments.ingress.throughput import estimator as pace
from deployments.ingress.throughput.linear_fit import FAR, fit_line
from models.progress import Progress, Stage
from storage.db.schema import tasks
from tests.ingress.conftest import Box
from tests.ingress.media import frames_of, video_file
from tests.ingress.test_queue import finish_in

SMALL = {"height": 64, "width": 64, "num_frames": 9}
POINTS = st.lists(st.tuples(st.integers(1, 10**10), st.floats(0, 1e5)), max_size=30)


@pytest.fixture
def measured(monkeypatch):
    """Do not cache the measurement."""
    monkeypatch.setattr(pace, "CACHE_TTL_S", 0.0)


def estimate(box: Box, **fields: object) -> float:
    answer = box.client.post("/v1/video/estimate", json={"prompt": "waves", **fields})
    assert answer.status_code == 200, answer.text
    return float(answer.json()["seconds"])


@given(POINTS, st.lists(st.integers(1, 10**12), min_size=2, max_size=8))
def test_more_work_never_takes_less_time_and_none_takes_less_than_nothing(points, amounts):
    found = fit_line(points)
    told = [seconds for amount in sorted(amounts) if (seconds := found.seconds(amount)) is not None]
    assert told == sorted(told)
    assert all(seconds >= 0 for seconds in told)
    assert not points or len({amount for amount, _ in points}) == 1 or len(told) == len(amounts)


def test_the_fixed_part_and_the_part_by_work_are_told_apart_in_spite_of_outliers():
    points = [(amount, 3 + 0.5 * amount) for amount in range(10, 50)]
    spoilt = [(amount, seconds * (20 if amount % 9 == 0 else 1)) for amount, seconds in points]
    found = fit_line(spoilt)
    for amount in (1, 10, 37, 49, 200, 1000):
        assert found.seconds(amount) == pytest.approx(3 + 0.5 * amount, rel=0.1)


def test_small_tasks_and_a_large_one_tell_all_between(box, measured):
    """30 tiny tasks, whose time is nearly all fixed, and a default one. Estimates were once 318 s, 12 s and 8,509 s."""
    for _ in range(30):
        finish_in(box, 0.4, **SMALL)
    finish_in(box, 12)
    told = [estimate(box, num_frames=frames) for frames in (9, 121, 241)]
    assert told == sorted(told)
    assert told == pytest.approx([0.4 + 11.6 * 9 / 121, 12, 12 + 11.6 * 120 / 121], rel=0.05)
    assert estimate(box, **SMALL) == pytest.approx(0.4, abs=0.1)


def test_a_task_of_few_steps_says_what_a_decode_takes_and_not_what_a_step_does(box, measured):
    """Two steps and a long decode, beside forty steps with the same decode. An earlier estimate was 149 s instead of
    26.
    """
    for seconds, fields in ((11.0, {"num_inference_steps": 2}), (28.0, {})):
        finish_in(box, seconds, **fields)
    for _ in range(20):
        finish_in(box, 0.8, **SMALL, num_inference_steps=2)
    with box.tasks._engine.begin() as connection:
        small = tasks.c.finished_at - tasks.c.started_at < 5
        connection.execute(update(tasks).where(small).values(decoding_at=tasks.c.finished_at - 0.4))
        connection.execute(update(tasks).where(~small).values(decoding_at=tasks.c.finished_at - 10))
    told = [estimate(box, num_inference_steps=steps) for steps in (2, 20, 40, 80)]
    assert told == sorted(told)
    assert told == pytest.approx([11, 19, 28, 46], rel=0.1)


def test_tasks_of_one_size_say_nothing_of_one_far_larger(box, measured):
    """Their fixed part is unknown, so the answer is null instead of hours."""
    finish_in(box, 0.4, **SMALL)
    answer = box.client.post("/v1/video/estimate", json={"prompt": "waves"}).json()
    assert answer["seconds"] is None
    assert "eta_s" not in box.poll(box.submit())
    near = estimate(box, **SMALL | {"num_frames": 17})
    assert 0.4 < near <= 0.4 * FAR


def started_ago(box: Box, task_id: str, **ago_s: float) -> None:
    with box.tasks._engine.begin() as connection:
        values = {name: time.time() - seconds for name, seconds in ago_s.items()}
        connection.execute(update(tasks).where(tasks.c.id == task_id).values(values))


def test_a_running_task_is_judged_by_its_own_steps_and_not_by_what_others_took(box, measured):
    finish_in(box, 800)
    task_id = box.submit(num_inference_steps=40)
    task = box.start()
    assert box.tasks.report_progress(task, Progress(Stage.DENOISING, 0))
    assert box.poll(task_id)["eta_s"] > 700
    assert box.tasks.report_progress(task, Progress(Stage.DENOISING, 20))
    started_ago(box, task_id, rendering_at=20.5)
    assert box.poll(task_id)["eta_s"] == pytest.approx(19.5 + 800 * 0.15, rel=0.1)


def test_the_guided_steps_of_a_fast_task_tell_that_the_others_are_shorter(box, measured):
    """20 steps with four transformer calls, then 20 with one."""
    finish_in(box, 100, quality="fast")
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).values(decoding_at=tasks.c.finished_at))
    task_id = box.submit(num_inference_steps=40, quality="fast")
    task = box.start()
    assert box.tasks.report_progress(task, Progress(Stage.DENOISING, 20))
    started_ago(box, task_id, rendering_at=80.5)
    assert box.poll(task_id)["eta_s"] == pytest.approx(19.5, rel=0.1)


def test_the_steps_of_a_second_stage_count_four_times_as_much_as_those_of_the_first(box, measured):
    """8 steps of a quarter of the tokens are as much as 2 whole ones; 3 whole ones follow."""
    unguided = {"cfg_scale_video": 1, "cfg_scale_audio": 1, "stg_scale_video": 0, "modality_scale": 1}
    finish_in(box, 100)
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).values(decoding_at=tasks.c.finished_at))
    task_id = box.submit(num_inference_steps=8, upscale=2, **unguided)
    task = box.start()
    assert box.tasks.report_progress(task, Progress(Stage.DENOISING, 8))
    started_ago(box, task_id, rendering_at=20.0)
    assert box.poll(task_id)["eta_s"] == pytest.approx(30, rel=0.1)
    assert box.poll(task_id)["progress"] == pytest.approx(0.3)
    assert box.tasks.report_progress(task, Progress(Stage.REFINING, 1))
    started_ago(box, task_id, rendering_at=35.0)
    assert box.poll(task_id)["eta_s"] == pytest.approx(15, rel=0.1)
    assert (box.poll(task_id)["stage"], box.poll(task_id)["step"]) == ("refining", 1)


def test_an_edit_is_judged_and_learned_from_by_the_part_that_is_rendered(box, measured):
    """A second is added to two of which the model sees a part: 45 of 75 frames."""
    shape, window = {"width": 128, "height": 64, "frame_rate": 25}, {"duration": 1, "context": 0.8}
    finish_in(box, 100, **shape, num_frames=45)
    files = {"video": video_file(frames_of(50))}
    fields = {"prompt": "waves", **window}
    task_id = box.client.post("/v1/video/async_extend", data=fields, files=files).json()["task_id"]
    box.start()
    assert box.poll(task_id)["eta_s"] == pytest.approx(100, rel=0.01)
    assert estimate(box, use="extend", **window, **shape, num_frames=75) == pytest.approx(100, rel=0.01)
    with box.tasks._engine.begin() as connection:
        connection.execute(delete(tasks).where(tasks.c.id != task_id))
    box.complete(box.row(task_id))
    started_ago(box, task_id, started_at=50)
    assert estimate(box, **shape, num_frames=45) == pytest.approx(50, rel=0.05)


def test_what_comes_after_the_last_step_is_learned_from_others(box, measured):
    finish_in(box, 60)
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).values(decoding_at=tasks.c.finished_at - 30))
    task_id = box.submit()
    task = box.start()
    assert box.tasks.report_progress(task, Progress(Stage.DENOISING, 39))
    started_ago(box, task_id, rendering_at=39.5)
    assert box.poll(task_id)["eta_s"] == pytest.approx(30.5, abs=1)
    assert box.tasks.report_progress(task, Progress(Stage.DECODING, 40))
    started_ago(box, task_id, decoding_at=20.0)
    assert box.poll(task_id)["eta_s"] == pytest.approx(10, abs=1)
    started_ago(box, task_id, decoding_at=50.0)
    assert box.poll(task_id)["eta_s"] == 0.0


def test_when_decoding_began_is_written_once_and_forgotten_with_the_attempt(box):
    box.submit()
    task = box.start()
    assert box.row(task.id).decoding_at is None
    for stage in (Stage.DECODING, Stage.DECODING, Stage.ENCODING):
        assert box.tasks.report_progress(task, Progress(stage))
    first = box.row(task.id).decoding_at
    assert first == pytest.approx(time.time(), abs=30)
    assert box.tasks.report_progress(task, Progress(Stage.DECODING))
    assert box.row(task.id).decoding_at == first
    assert box.tasks.requeue(task, attempt_lost=False)
    assert box.row(task.id).decoding_at is None

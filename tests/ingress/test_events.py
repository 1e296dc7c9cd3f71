"""Events: every change of a task reaches its stream, and the stream ends with the task."""

import itertools
import threading
import time
from collections.abc import Iterator

from deployments.ingress.routes.events import revision
from models.progress import Progress, Stage
from tests.ingress.conftest import completing


def test_a_finished_task_is_one_final_event(box):
    task_id = box.finished()
    text = box.client.get(f"/v1/video/tasks/{task_id}/events").text
    assert text.count("event: ") == 1
    assert "event: completed" in text


def test_each_change_is_an_event_with_a_rising_id_and_the_last_one_is_final(served_box):
    box = served_box(ingress={"sse_keepalive_s": 600})
    task_id = box.submit()
    with box.client.stream("GET", f"/v1/video/tasks/{task_id}/events") as stream:
        lines = stream.iter_lines()
        heard = [next_id(lines)]
        task = box.start()
        heard.append(next_id(lines))
        for step in (10, 20):
            box.tasks.report_progress(task, Progress(Stage.DENOISING, step))
            heard.append(next_id(lines))
        box.complete(task)
        rest = list(lines)
    ids = [int(line[4:]) for line in (*heard, *rest) if line.startswith("id: ")]
    assert len(ids) >= 5
    assert ids == sorted(set(ids))
    assert [line for line in rest if line.startswith("event: ")][-1] == "event: completed"


def next_id(lines: Iterator[str]) -> str:
    """Read up to the next event. Returns its id line."""
    return next(line for line in lines if line.startswith("id: "))


def test_an_unknown_task_has_no_stream(box):
    assert box.client.get("/v1/video/tasks/nothing/events").status_code == 404


def test_who_knows_the_end_already_is_told_to_stop(box):
    task_id = box.finished()
    known = str(revision(box.row(task_id)))
    url = f"/v1/video/tasks/{task_id}/events"
    assert box.client.get(url, headers={"Last-Event-ID": known}).status_code == 204
    assert "event: completed" in box.client.get(url, headers={"Last-Event-ID": "7"}).text


def test_an_event_that_is_known_is_not_sent_again(box):
    task_id = box.submit()
    task = box.start()
    known = str(revision(box.row(task_id)))
    ending = threading.Timer(0.7, box.complete, [task])
    ending.start()
    text = box.client.get(f"/v1/video/tasks/{task_id}/events", headers={"Last-Event-ID": known}).text
    ending.join()
    assert [line for line in text.splitlines() if line.startswith("event: ")] == ["event: completed"]


def test_silence_is_filled_with_comments(served_box):
    box = served_box(ingress={"sse_keepalive_s": 0.1})
    task_id = box.submit()
    with box.client.stream("GET", f"/v1/video/tasks/{task_id}/events") as stream:
        lines = stream.iter_lines()
        heartbeats = (line for line in lines if line == ": still here")
        assert len(list(itertools.islice(heartbeats, 3))) == 3
        box.tasks.cancel(task_id)
        rest = "\n".join(lines)
    assert "event: failed" in rest
    assert '"error_code": "canceled"' in rest


def test_a_stream_stays_open_while_the_store_is_away(served_box):
    box = served_box(ingress={"sse_keepalive_s": 0.3})
    task_id = box.submit()
    with box.client.stream("GET", f"/v1/video/tasks/{task_id}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")
        box.tasks.close()
        for file in box.folder.glob("tasks.db*"):
            file.unlink()
        heartbeats = (line for line in lines if line == ": still here")
        assert len(list(itertools.islice(heartbeats, 3))) == 3


def test_streams_over_the_bound_are_refused_with_when_to_come_back(served_box):
    box = served_box(ingress={"max_event_streams": 1})
    task_id = box.submit()
    url = f"/v1/video/tasks/{task_id}/events"
    with box.client.stream("GET", url) as stream:
        lines = stream.iter_lines()  # kept: without this reference the connection closes
        next(lines)
        answer = box.client.get(url)
        assert (answer.status_code, answer.json()["error_code"]) == (429, "too_many_requests")
        assert answer.json()["retryable"] is True
        assert int(answer.headers["retry-after"]) > 0


def test_a_client_that_hangs_up_gives_its_place_back(served_box):
    box = served_box(ingress={"max_event_streams": 1, "sse_keepalive_s": 0.1})
    task_id = box.submit()
    url = f"/v1/video/tasks/{task_id}/events"
    with box.client.stream("GET", url) as stream:
        lines = stream.iter_lines()  # kept: without this reference the connection closes
        next(lines)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with box.client.stream("GET", url) as stream:
            if stream.status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the place was never given back")


def test_open_streams_take_no_place_of_those_who_wait(served_box):
    box = served_box(ingress={"max_event_streams": 1, "max_sync_requests": 1})
    task_id = box.submit()
    with box.client.stream("GET", f"/v1/video/tasks/{task_id}/events") as stream:
        lines = stream.iter_lines()  # kept: without this reference the connection closes
        next(lines)
        box.tasks.cancel(task_id)
        with completing(box):
            assert box.client.post("/v1/video/t2v", json={"prompt": "waves"}).status_code == 200

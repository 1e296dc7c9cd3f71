"""The list of tasks."""

import pytest

from storage.tasks import State


def pages(box, **query) -> list[list[str]]:
    found, cursor = [], None
    while True:
        answer = box.client.get("/v1/video/tasks", params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found.append([task["task_id"] for task in answer.json()["tasks"]])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


def test_an_empty_server_has_one_empty_page(box):
    assert pages(box) == [[]]


def test_tasks_are_listed_newest_first_as_a_poll_shows_them(box):
    box.finished()
    box.submit()
    box.start()
    for _ in range(3):
        box.submit()
    listed = box.client.get("/v1/video/tasks").json()["tasks"]
    assert [task["created_at"] for task in listed] == sorted((t["created_at"] for t in listed), reverse=True)
    assert [task["state"] for task in listed] == [*["queued"] * 3, "processing", "completed"]
    assert listed == [box.poll(task["task_id"]) for task in listed]


def test_pages_follow_each_other_without_gap_or_repetition(box):
    ids = [box.submit() for _ in range(7)][::-1]
    assert pages(box, limit=3) == [ids[:3], ids[3:6], ids[6:]]
    assert pages(box, limit=7) == [ids]


def test_a_task_that_comes_meanwhile_moves_no_page(box):
    ids = [box.submit() for _ in range(4)][::-1]
    first = box.client.get("/v1/video/tasks?limit=2").json()
    box.submit()
    second = box.client.get(f"/v1/video/tasks?limit=2&cursor={first['next_cursor']}").json()
    assert [task["task_id"] for task in second["tasks"]] == ids[2:]


def test_a_page_goes_on_after_a_task_that_was_deleted_meanwhile(box):
    ids = [box.finished() for _ in range(4)][::-1]
    first = box.client.get("/v1/video/tasks?limit=2").json()
    assert box.client.delete(f"/v1/video/tasks/{ids[1]}").json()["outcome"] == "deleted"
    second = box.client.get(f"/v1/video/tasks?limit=2&cursor={first['next_cursor']}").json()
    assert [task["task_id"] for task in second["tasks"]] == ids[2:]


def test_states_filter_and_may_repeat(box):
    done = box.finished()
    canceled, waiting = box.submit(), box.submit()
    box.tasks.cancel(canceled)
    assert pages(box, state="queued") == [[waiting]]
    assert pages(box, state=["completed", "canceled"]) == [[canceled, done]]
    assert pages(box, state=["completed", "canceled"], limit=1) == [[canceled], [done]]


def test_places_in_the_queue_are_right_on_every_page(box):
    for _ in range(5):
        box.submit()
    page = box.client.get("/v1/video/tasks?limit=2").json()
    assert [task["queue_position"] for task in page["tasks"]] == [5, 4]


def test_deleted_tasks_are_left_out(box):
    kept, gone = box.finished(), box.finished()
    box.tasks.delete(gone)
    assert pages(box) == [[kept]]
    assert pages(box, state="deleted") == [[]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=running", "state"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=abc", "cursor"),
        ("cursor=-1", "cursor"),
        ("cursor=9999999999999999999999", "cursor"),
    ],
)
def test_a_query_that_cannot_be_taken_names_its_field(box, query, field):
    answer = box.client.get(f"/v1/video/tasks?{query}")
    assert (answer.status_code, answer.json()["error_code"]) == (422, "invalid_request")
    assert field in answer.json()["error"]


def test_every_state_can_be_asked_for(box):
    assert pages(box, state=list(State)) == [[]]

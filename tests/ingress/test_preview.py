"""The preview of a video that is being denoised: its route, its place in a poll, and its event."""

import json
from typing import Any

import pytest

from models.progress import Progress, Stage
from storage.outputs.store import preview_key
from storage.tasks import Task
from tests.ingress.keys import ALICE, BOB, KEYS, speaking_as

FIRST, SECOND = b"\xff\xd8first", b"\xff\xd8second, sharper"


def url_of(task_id: str) -> str:
    return f"/v1/video/tasks/{task_id}/preview"


def denoise(box: Any) -> Task:
    """A task after its fourth step."""
    task = box.start()
    assert box.tasks.report_progress(task, Progress(Stage.DENOISING, step=4))
    return task


def show(box: Any, task: Task, content: bytes, step: int) -> None:
    """Store a preview, as a Generator does."""
    box.outputs.put(preview_key(task.id), content)
    assert box.tasks.record_preview(task, step)


@pytest.fixture
def task(box: Any) -> Task:
    box.submit()
    return denoise(box)


def absence(box: Any, task_id: str) -> str:
    answer = box.client.get(url_of(task_id))
    assert answer.status_code == 404, answer.text
    return str(answer.json()["error"])


def test_the_newest_preview_is_delivered_and_named_in_a_poll(box: Any, task: Task) -> None:
    assert "preview_url" not in box.poll(task.id)
    for content, step in ((FIRST, 4), (SECOND, 12)):
        show(box, task, content, step)
        answer = box.client.get(box.poll(task.id)["preview_url"])
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["Content-Type"] == "image/jpeg"


def test_a_preview_that_the_client_has_is_not_sent_again(box: Any, task: Task) -> None:
    show(box, task, FIRST, 4)
    known = box.client.get(url_of(task.id)).headers
    assert known["Cache-Control"] == "private, no-cache"
    again = box.client.get(url_of(task.id), headers={"If-None-Match": known["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    show(box, task, SECOND, 12)
    assert box.client.get(url_of(task.id), headers={"If-None-Match": known["ETag"]}).content == SECOND


def test_a_missing_preview_has_its_reason(box: Any, task: Task) -> None:
    assert absence(box, "nothing") == "there is no task 'nothing'"
    assert "after the first denoising steps" in absence(box, task.id)
    show(box, task, FIRST, 4)
    box.tasks.report_progress(task, Progress(Stage.ENCODING))
    assert "is being encoded" in absence(box, task.id)
    box.complete(task)
    assert "its `url` has the video" in absence(box, task.id)
    assert "preview_url" not in box.poll(task.id)


@pytest.mark.parametrize("stage", [Stage.UPSCALING, Stage.REFINING, Stage.DECODING])
def test_a_preview_stays_until_the_render_ends(box: Any, task: Task, stage: Stage) -> None:
    show(box, task, FIRST, 4)
    box.tasks.report_progress(task, Progress(stage))
    assert box.client.get(box.poll(task.id)["preview_url"]).content == FIRST


def test_a_canceled_task_has_no_preview(box: Any, task: Task) -> None:
    show(box, task, FIRST, 4)
    box.tasks.cancel(task.id)
    assert "its state is canceled" in absence(box, task.id)
    assert not box.tasks.record_preview(task, 12), "its worker learns that it has lost the task"


def test_a_task_that_is_tried_again_begins_without_a_preview(box: Any, task: Task) -> None:
    show(box, task, FIRST, 4)
    assert box.tasks.requeue(task, attempt_lost=True)
    assert "after the first denoising steps" in absence(box, task.id)
    again = denoise(box)
    assert "preview_url" not in box.poll(again.id)


def test_a_preview_whose_file_is_gone_is_a_404(box: Any, task: Task) -> None:
    show(box, task, FIRST, 4)
    box.outputs.delete(preview_key(task.id))
    assert "its render has ended" in absence(box, task.id)


def test_a_server_without_previews_says_so(open_box: Any) -> None:
    box = open_box(generator={"preview": "off"})
    assert "generator.preview" in absence(box, box.submit())


def test_a_preview_is_for_its_owner_alone(open_box: Any) -> None:
    box = open_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        box.submit()
        task = denoise(box)
        show(box, task, FIRST, 4)
        assert box.client.get(url_of(task.id)).content == FIRST
    with speaking_as(box, BOB):
        assert absence(box, task.id) == f"there is no task {task.id!r}"
    assert box.client.get(url_of(task.id)).status_code == 401


def test_each_new_preview_is_an_event_and_every_stream_hears_of_the_newest(served_box: Any) -> None:
    box = served_box(ingress={"sse_keepalive_s": 600})
    box.submit()
    task = denoise(box)
    stream_of = f"/v1/video/tasks/{task.id}/events"
    with box.client.stream("GET", stream_of) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("event: ")) == "event: progress"
        heard = []
        for step in (4, 12):
            show(box, task, FIRST, step)
            assert next(line for line in lines if line.startswith("event: ")) == "event: preview"
            heard.append(json.loads(next(lines).removeprefix("data: ")))
        with box.client.stream("GET", stream_of) as late:
            names = (line for line in late.iter_lines() if line.startswith("event: "))
            assert [next(names), next(names)] == ["event: progress", "event: preview"]
            box.complete(task)
        rest = [line for line in lines if line.startswith("event: ")]
    url = f"{box.client.base_url}".rstrip("/") + url_of(task.id)
    assert heard == [{"task_id": task.id, "step": step, "url": f"{url}?step={step}"} for step in (4, 12)]
    assert rest == ["event: completed"]


def test_a_deleted_task_leaves_no_preview(box: Any, task: Task) -> None:
    """A Generator that died could not delete it."""
    show(box, task, FIRST, 4)
    box.complete(task)
    assert box.client.delete(f"/v1/video/tasks/{task.id}").status_code == 200
    assert box.outputs.stat(preview_key(task.id)) is None


def test_a_preview_is_not_a_file_of_the_outputs(box: Any, task: Task) -> None:
    show(box, task, FIRST, 4)
    assert box.client.get(f"/outputs/ltx2_{task.id}.preview.jpg").status_code == 404

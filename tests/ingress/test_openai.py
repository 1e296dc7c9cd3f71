"""OpenAI's video API: by plain requests for each response, and with the openai package."""

import io
import threading
import time
from collections.abc import Iterator

import openai
import pytest
from PIL import Image

from storage.outputs.store import input_key, poster_key
from storage.tasks import Failure
from tests.ingress.conftest import MODEL, PROMPT, VIDEO, Box, completing, image_file

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
"""The package warns that OpenAI's own server will be shut down; other servers keep the API's shape."""


@pytest.fixture
def served(served_box) -> Iterator[Box]:
    """A server on a real port, and a worker that completes every task."""
    with completing(served_box()) as box:
        yield box


@pytest.fixture
def client(served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.client.base_url}/v1".replace("//v1", "/v1"), api_key="none") as client:
        yield client


def create(box: Box, **fields) -> dict:
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer) -> tuple[int, str | None, str]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["param"], error["code"]


def test_the_openai_package_makes_and_downloads_a_video(client, served):
    video = client.videos.create_and_poll(prompt=PROMPT, model=MODEL, size="1280x720", seconds="4", poll_interval_ms=20)
    assert (video.status, video.progress, video.size, video.seconds) == ("completed", 100, "1280x704", "4")
    assert video.completed_at >= video.created_at > 0
    assert (video.model, video.prompt, video.error) == (MODEL, PROMPT, None)
    assert client.videos.download_content(video.id).read() == VIDEO
    served.outputs.put(poster_key(video.id.removeprefix("video_")), image_file(640, 320, "JPEG"))
    thumbnail = client.videos.download_content(video.id, variant="thumbnail").read()
    assert Image.open(io.BytesIO(thumbnail)).size == (320, 160)


def test_the_openai_package_sends_an_image_and_fields_of_its_own(client, served):
    video = client.videos.create(
        prompt=PROMPT,
        input_reference=("photo.png", image_file()),
        extra_body={"seed": 7, "num_inference_steps": 3, "negative_prompt": "text"},
    )
    task = served.row(video.id.removeprefix("video_"))
    request = task.request
    assert (request.seed, request.num_inference_steps, request.negative_prompt) == (7, 3, "text")
    assert task.input_key == input_key(task.id)


def test_the_openai_package_lists_page_by_page_and_deletes(client, served):
    ids = [f"video_{served.submit()}" for _ in range(5)]
    assert [video.id for video in client.videos.list(limit=2)] == ids[::-1]
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == ids
    assert client.videos.delete(ids[0]).deleted
    assert [video.id for video in client.videos.list(after=ids[2])] == [ids[1]]
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(ids[0])


def test_the_openai_package_finds_the_model(client):
    listed, *aliases = client.models.list()
    assert client.models.retrieve(MODEL) == listed
    assert (listed.id, listed.object, listed.owned_by) == (MODEL, "model", "Lightricks")
    assert [(each.id, each.root) for each in aliases] == [("sora-2", MODEL), ("sora-2-pro", MODEL)]
    assert client.models.retrieve("sora-2") == aliases[0]
    with pytest.raises(openai.NotFoundError, match=MODEL):
        client.models.retrieve("sora-3")


def test_the_openai_package_understands_a_refusal(client):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.videos.create(prompt=PROMPT, model="veo-3")
    assert (refused.value.param, refused.value.code) == ("model", "invalid_request")
    assert MODEL in refused.value.message


def test_a_task_of_one_door_is_seen_through_the_other(box):
    own, theirs = box.submit(), create(box)["id"]
    assert box.client.get(f"/v1/videos/video_{own}").json()["status"] == "queued"
    assert box.poll(theirs.removeprefix("video_"))["state"] == "queued"
    box.complete(box.start())
    assert box.client.get(f"/v1/videos/video_{own}").json()["status"] == "completed"


def test_a_running_task_is_in_progress_and_a_failed_one_says_why(box):
    video_id = create(box)["id"]
    task = box.start()
    assert box.client.get(f"/v1/videos/{video_id}").json()["status"] == "in_progress"
    assert refusal(box.client.get(f"/v1/videos/{video_id}/content")) == (404, None, "not_found")
    box.tasks.fail(task, Failure("it broke", "render_failed", retryable=False))
    video = box.client.get(f"/v1/videos/{video_id}").json()
    assert (video["status"], video["error"]) == ("failed", {"code": "render_failed", "message": "it broke"})


def test_a_video_says_until_when_its_file_is_there(open_box):
    box = open_box(retention={"output_ttl_s": 3600})
    task_id = box.finished()
    video = box.client.get(f"/v1/videos/video_{task_id}").json()
    assert video["expires_at"] == int(box.row(task_id).finished_at + 3600)
    assert create(box)["expires_at"] is None


def test_the_server_s_defaults_stand_where_nothing_is_asked(box):
    video = create(box, model=None, size="", seconds=None)
    assert (video["size"], video["seconds"], video["ignored"]) == ("768x512", "4.84", [])


def test_fields_that_do_not_exist_are_named(box):
    assert create(box, user="ann", style="vivid")["ignored"] == ["style", "user"]


@pytest.mark.parametrize(
    ("size", "rendered"),
    [("1280x720", "1280x704"), ("720x1280", "704x1280"), ("96x95", "128x64"), ("768x512", "768x512")],
)
def test_a_size_becomes_the_nearest_that_can_be_rendered(box, size, rendered):
    assert create(box, size=size, seconds=1)["size"] == rendered


def test_seconds_are_frames_at_the_rate_that_was_asked_for(box):
    video = create(box, seconds="2", frame_rate=24)
    task = box.row(video["id"].removeprefix("video_"))
    assert (task.request.num_frames, video["seconds"]) == (48, "2")
    assert create(box, seconds="2", num_frames=25)["seconds"] == "1"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "wide"}, "size"),
        ({"size": "31x64"}, "size"),
        ({"size": "4096x64"}, "size"),
        ({"size": 5}, "size"),
        ({"seconds": "soon"}, "seconds"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": "nan"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": 10**400}, "seconds"),
        ({"seconds": "4", "frame_rate": 1e300}, "frame_rate"),
        ({"model": "veo-3"}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"seed": "x"}, "seed"),
        ({"input_reference": {"image_url": "https://192.168.1.5/a.png"}}, "input_reference"),
    ],
)
def test_a_refusal_names_the_parameter(box, fields, param):
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT, **fields})
    assert refusal(answer) == (422, param, "invalid_request")
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_file_that_is_no_image_is_refused_under_its_own_name(box):
    form = {"data": {"prompt": PROMPT}, "files": {"input_reference": ("a.txt", b"text")}}
    answer = box.client.post("/v1/videos", **form)
    assert refusal(answer) == (422, "input_reference", "invalid_request")
    assert answer.json()["error"]["message"].startswith("input_reference must be")


def test_a_full_queue_is_a_rate_limit_with_retry_after(open_box):
    box = open_box(ingress={"max_queued": 1})
    create(box)
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT})
    assert refusal(answer) == (429, None, "queue_full")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "order=up", "after=video_x"])
def test_a_query_that_cannot_be_taken_names_its_parameter(box, query):
    answer = box.client.get(f"/v1/videos?{query}")
    assert refusal(answer) == (422, query.partition("=")[0], "invalid_request")


def test_an_empty_list_has_no_ids(box):
    assert box.client.get("/v1/videos").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_deleting_cancels_what_runs_and_does_no_harm_again(box):
    video_id = create(box)["id"]
    task = box.start()
    for _ in range(2):
        answer = box.client.delete(f"/v1/videos/{video_id}")
        assert answer.json() == {"id": video_id, "object": "video.deleted", "deleted": True}
    assert not box.tasks.owns_task(task)
    assert refusal(box.client.get(f"/v1/videos/{video_id}")) == (404, None, "not_found")
    assert box.client.get("/v1/videos").json()["data"] == []


def test_the_content_has_ranges(box):
    video_id = f"video_{box.finished()}"
    part = box.client.get(f"/v1/videos/{video_id}/content", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content, part.headers["Content-Type"]) == (206, VIDEO[:10], "video/mp4")
    assert box.client.head(f"/v1/videos/{video_id}/content").headers["Content-Length"] == str(len(VIDEO))
    assert refusal(box.client.get(f"/v1/videos/{video_id}/content?variant=audio"))[:2] == (422, "variant")


@pytest.mark.parametrize("name", ["abc", "0" * 32, "video_" + "0" * 32, "video_" + "x" * 3000, "%00", "🎥"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
def test_an_unknown_video_is_404(box, method, rest, name):
    assert refusal(box.client.request(method, f"/v1/videos/{name}{rest}")) == (404, None, "not_found")


def test_the_other_routes_keep_their_error_body(box):
    assert box.client.get("/v1/video/tasks/abc").json()["error_code"] == "not_found"


# -- waiting for the MP4, as vLLM-Omni's clients do


def test_the_documented_commands_of_vllm_omni_bring_the_mp4(served):
    size = {"size": "768x512", "num_frames": "121", "fps": "24", "seed": "42", "negative_prompt": "worst quality"}
    none, image = {"other": b""}, {"input_reference": ("a.png", image_file())}
    for fields, files in ((size, none), (size, image), ({}, none)):
        answer = served.client.post("/v1/videos/sync", data={"prompt": PROMPT, **fields}, files=files)
        assert (answer.status_code, answer.content) == (200, VIDEO)
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["content-length"] == str(len(VIDEO))
        assert answer.headers["x-model"] == MODEL
        assert float(answer.headers["x-inference-time-s"]) >= 0
        name = answer.headers["content-disposition"].removeprefix('inline; filename="').removesuffix('"')
        video = served.client.get(f"/v1/videos/{name.removesuffix('.mp4')}").json()
        assert video["status"] == "completed"
    created = served.client.post("/v1/videos", data={"prompt": PROMPT, "width": "854", "height": "480"}, files=files)
    assert created.json()["size"] == "832x512"


def test_waiting_for_a_video_that_fails_or_is_deleted_says_why(served_box):
    box = served_box()
    answers = []

    def post() -> None:
        answers.append(box.client.post("/v1/videos/sync", json={"prompt": PROMPT}))

    for end in (lambda task: box.tasks.fail(task, Failure("it broke", "render_failed", False)), None):
        waiting = threading.Thread(target=post)
        waiting.start()
        while not (claimed := box.tasks.claim("alice", MODEL, 1, 60)):
            time.sleep(0.02)
        box.tasks.start_run(claimed[0])
        end(claimed[0]) if end else box.client.delete(f"/v1/video/tasks/{claimed[0].id}")
        waiting.join()
    assert refusal(answers[0]) == (500, None, "render_failed")
    assert refusal(answers[1]) == (409, None, "canceled")


def test_waiting_for_a_video_takes_one_of_the_seats_of_all_who_wait(served_box):
    box = served_box(ingress={"max_sync_requests": 1})
    waiting = threading.Thread(target=box.client.post, args=("/v1/video/t2v",), kwargs={"json": {"prompt": PROMPT}})
    waiting.start()
    while not (claimed := box.tasks.claim("alice", MODEL, 1, 60)):
        time.sleep(0.02)
    answer = box.client.post("/v1/videos/sync", json={"prompt": PROMPT})
    box.tasks.start_run(claimed[0])
    box.complete(claimed[0])
    waiting.join()
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")

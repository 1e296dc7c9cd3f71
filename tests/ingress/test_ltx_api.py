"""The hosted LTX API: its statuses, states, errors and uploads, and the requests that LTX-Desktop's client sends."""

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from deployments.encoder.mp4 import write_mp4
from deployments.ingress.ltx_api.images import USABLE_S
from deployments.ingress.ltx_api.mapping import CAMERA_MOTIONS
from deployments.ingress.ltx_api.schemas import ENDPOINTS, PATHS
from deployments.ingress.uploads.tickets import TICKET_SIGNING, TICKET_TTL_S, UploadTicket
from models.clip import Clip
from models.request.enums import DurationMode, Quality
from storage.inputs import unpack_inputs
from storage.outputs.store import input_key
from storage.tasks import Failure, ServedModel, State
from tests.ingress.conftest import MODEL, PROMPT, VIDEO, Box, completing, image_file
from tests.ingress.keys import ALICE, BOB, KEYS, bearer, speaking_as
from tests.ingress.language_model import WRITTEN, serve_language_model
from tests.ingress.media import frames_of, video_file
from tests.ingress.test_estimate import LTX_2, loaded

TEXT = {"prompt": PROMPT, "model": "ltx-2-3-fast", "resolution": "1280x720", "duration": 2}
CREATES = ("/v2/text-to-video", "/v2/image-to-video", "/v1/text-to-video", "/v1/image-to-video")
"""Version 2 first: where a test expects a refusal, a request of version 1 that is not refused would wait."""
WAITING = CREATES[2]
NOT_SERVED = ("/v2/video-to-video-hdr", "/v2/video-to-video-reframe")


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


IMAGE = {**TEXT, "image_uri": data_url(image_file())}


def body_for(path: str) -> dict[str, Any]:
    return IMAGE if "image" in path else TEXT


def submit(box: Box, endpoint: str = "text-to-video", **fields: Any) -> str:
    answer = box.client.post(f"/v2/{endpoint}", json={**body_for(endpoint), **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert set(body) == {"type", "error"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    return answer.status_code, body["error"]["type"], body["error"]["message"]


def refused(box: Box, path: str = "/v2/text-to-video", **fields: Any) -> str:
    """The message of a 400."""
    status, kind, message = refusal(box.client.post(path, json={**body_for(path), **fields}))
    assert (status, kind) == (400, "invalid_request_error"), message
    return message


def job(box: Box, job_id: str, endpoint: str = "text-to-video") -> dict[str, Any]:
    answer = box.client.get(f"/v2/{endpoint}/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def served(served_box: Callable[..., Box]) -> Iterator[Box]:
    """A server on a real port, and a worker that completes every task."""
    with completing(served_box()) as box:
        yield box


# -- the client of LTX-Desktop


@dataclass
class DesktopClient:
    """Sends what LTX-Desktop's API client sends, and requires of the answers what it requires."""

    base_url: str
    key: str

    def generate(self, endpoint: str, **fields: Any) -> bytes:
        answer = httpx.post(f"{self.base_url}/v1/{endpoint}", json=fields, headers=bearer(self.key), timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.text[:500]} {answer.headers.get('x-request-id')}")
        kind = answer.headers["content-type"].lower()
        assert "video" in kind or "octet-stream" in kind
        return answer.content

    def upload(self, content: bytes, kind: str = "image/png") -> str:
        made = httpx.post(f"{self.base_url}/v1/upload", headers=bearer(self.key), timeout=60)
        assert made.status_code == 200, made.text
        upload = made.json()
        headers = {"Content-Type": kind, **upload["required_headers"]}
        sent = httpx.put(upload["upload_url"], content=content, headers=headers, timeout=60)
        assert sent.status_code in (200, 201), sent.text
        return str(upload["storage_uri"])

    def follow(self, endpoint: str, **fields: Any) -> bytes:
        """Submit with version 2, poll, and get the result without a key."""
        submitted = httpx.post(f"{self.base_url}/v2/{endpoint}", json=fields, headers=bearer(self.key), timeout=60)
        if submitted.status_code not in (200, 202):
            raise RuntimeError(submitted.text[:500])
        poll_url = f"{self.base_url}/v2/{endpoint}/{submitted.json()['id']}"
        while True:
            polled = httpx.get(poll_url, headers=bearer(self.key)).json()
            if polled["status"] == "completed":
                result = httpx.get(polled["result"]["video_url"])
                result.raise_for_status()
                return result.content
            if polled["status"] not in ("queued", "pending", "processing", "running", "in_progress", "starting"):
                raise RuntimeError(polled["error"]["message"])
            time.sleep(0.05)


@pytest.fixture
def desktop(served_box: Callable[..., Box]) -> Iterator[DesktopClient]:
    with completing(served_box(api_keys=KEYS)) as box:
        yield DesktopClient(str(box.client.base_url).rstrip("/"), ALICE)


def numbers(**fields: Any) -> dict[str, Any]:
    """The fields as LTX-Desktop writes them: its numbers have a fraction."""
    sizes = {"model": "ltx-2-3-pro", "resolution": "1920x1080", "duration": 6.0, "fps": 24.0}
    return {"prompt": PROMPT, **sizes, "generate_audio": True, **fields}


def test_ltx_desktop_makes_a_video_from_a_text(desktop: DesktopClient) -> None:
    assert desktop.generate("text-to-video", **numbers()) == VIDEO
    assert desktop.generate("text-to-video", **numbers(camera_motion="dolly_in", enhance_prompt=True)) == VIDEO


def test_ltx_desktop_makes_a_video_from_an_uploaded_image(desktop: DesktopClient) -> None:
    uploaded = desktop.upload(image_file())
    assert uploaded.startswith("ltx://uploads/")
    assert desktop.generate("image-to-video", **numbers(image_uri=uploaded)) == VIDEO
    assert desktop.follow("image-to-video", **numbers(image_uri=uploaded)) == VIDEO
    assert desktop.follow("text-to-video", **numbers()) == VIDEO


def test_ltx_desktop_extends_and_retakes_an_uploaded_video(desktop: DesktopClient) -> None:
    video_uri = desktop.upload(video_file(frames_of(50), audio_s=2.0), "video/mp4")
    extend = {"video_uri": video_uri, "duration": 5, "mode": "end", "model": "ltx-2-3-pro", "prompt": PROMPT}
    assert desktop.follow("extend", **extend) == VIDEO
    assert desktop.generate("retake", video_uri=video_uri, start_time=0.0, duration=2.0, prompt=PROMPT) == VIDEO


# -- version 1


def test_the_mp4_is_the_answer(served: Box) -> None:
    for path in CREATES[2:]:
        answer = served.client.post(path, json=body_for(path))
        assert (answer.status_code, answer.content) == (200, VIDEO)
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["content-length"] == str(len(VIDEO))


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (Failure("it broke", "render_failed", retryable=False), 500, "api_error"),
        (Failure("too late", "timeout", retryable=True), 504, "api_error"),
        (None, 400, "invalid_request_error"),
    ],
)
def test_waiting_for_a_task_that_fails_or_is_canceled_says_why(
    served_box: Callable[..., Box], failure: Failure | None, status: int, kind: str
) -> None:
    box, answers = served_box(), []
    waiting = threading.Thread(target=lambda: answers.append(box.client.post(WAITING, json=TEXT)))
    waiting.start()
    while not (claimed := box.tasks.claim("alice", MODEL, 1, 60)):
        time.sleep(0.02)
    box.tasks.start_run(claimed[0])
    if failure is not None:
        box.tasks.fail(claimed[0], failure)
    else:
        box.client.delete(f"/v1/video/tasks/{claimed[0].id}")
    waiting.join()
    message = "the task was canceled" if failure is None else failure.message
    assert refusal(answers[0]) == (status, kind, message)


def test_waiting_counts_as_a_synchronous_request(served_box: Callable[..., Box]) -> None:
    box = served_box(ingress={"max_sync_requests": 1})
    waiting = threading.Thread(target=box.client.post, args=("/v1/video/t2v",), kwargs={"json": {"prompt": PROMPT}})
    waiting.start()
    while not (claimed := box.tasks.claim("alice", MODEL, 1, 60)):
        time.sleep(0.02)
    answer = box.client.post(WAITING, json=TEXT)
    box.tasks.start_run(claimed[0])
    box.complete(claimed[0])
    waiting.join()
    assert refusal(answer)[:2] == (429, "concurrency_limit_error")
    assert int(answer.headers["Retry-After"]) > 0
    assert box.tasks.counts().get(State.QUEUED, 0) == 0, "the refused request made no task"


def test_a_client_that_leaves_does_not_end_its_task(served_box: Callable[..., Box]) -> None:
    box = served_box()

    async def leave() -> None:
        async with httpx.AsyncClient(base_url=box.client.base_url, timeout=60) as client:
            waiting = asyncio.create_task(client.post(WAITING, json=TEXT))
            while not box.tasks.counts().get(State.QUEUED):  # noqa: ASYNC110  # the store has no event
                await asyncio.sleep(0.02)
            waiting.cancel()

    asyncio.run(leave())
    task = box.start()
    box.complete(task)
    assert job(box, task.id)["status"] == "completed"


# -- version 2


def test_a_submit_answers_with_an_id_and_a_time_alone(box: Box) -> None:
    answer = box.client.post("/v2/text-to-video", json=TEXT)
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"id", "created_at"}
    created_at = box.row(body["id"]).created_at
    assert body["created_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created_at))


def test_a_job_goes_through_its_states(box: Box) -> None:
    job_id = submit(box)
    pending = job(box, job_id)
    assert (set(pending), pending["status"]) == ({"id", "status", "created_at"}, "pending")
    task = box.start()
    assert job(box, job_id)["status"] == "processing"
    box.complete(task)
    done = job(box, job_id)
    assert set(done) == {"id", "status", "created_at", "completed_at", "result"}
    assert done["status"] == "completed"
    assert done["completed_at"].endswith("Z")
    assert box.client.get(done["result"]["video_url"]).content == VIDEO


def test_a_job_that_fails_or_is_canceled_says_why(box: Box) -> None:
    failed, canceled = submit(box), submit(box)
    box.tasks.fail(box.start(), Failure("it broke", "render_failed", retryable=False))
    box.client.delete(f"/v1/video/tasks/{canceled}")
    assert (job(box, failed)["status"], job(box, failed)["error"]) == (
        "failed",
        {"type": "api_error", "message": "it broke"},
    )
    assert job(box, canceled)["error"] == {"type": "invalid_request_error", "message": "the task was canceled"}
    finished = box.finished()
    box.client.delete(f"/v1/video/tasks/{finished}")
    assert job(box, finished)["error"] == {"type": "not_found_error", "message": "the video was deleted"}


def test_a_job_is_found_under_its_own_endpoint_alone(box: Box) -> None:
    text, image = submit(box), submit(box, "image-to-video")
    assert job(box, text)["id"] == text
    assert job(box, image, "image-to-video")["id"] == image
    for path in (f"text-to-video/{image}", f"image-to-video/{text}", f"extend/{text}", f"x/{text}", "text-to-video/x"):
        assert refusal(box.client.get(f"/v2/{path}"))[:2] == (404, "not_found_error"), path


def test_a_task_is_seen_through_every_interface(box: Box) -> None:
    job_id, own = submit(box), box.submit()
    assert box.poll(job_id)["state"] == "queued"
    assert box.client.get(f"/v1/videos/video_{job_id}").json()["status"] == "queued"
    assert job(box, own)["status"] == "pending"


def test_with_keys_the_result_opens_without_a_header_and_another_key_sees_no_job(open_box: Callable[..., Box]) -> None:
    box = open_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        job_id = submit(box)
        box.complete(box.start())
        url = job(box, job_id)["result"]["video_url"]
    assert urlsplit(url).netloc
    assert box.client.get(url).content == VIDEO
    with speaking_as(box, BOB):
        assert refusal(box.client.get(f"/v2/text-to-video/{job_id}"))[:2] == (404, "not_found_error")


# -- fields


def test_the_fields_become_those_of_the_server(box: Box) -> None:
    request = box.row(submit(box, resolution="1920x1080", duration=6.0, fps=25.0)).request
    assert (request.width, request.height, request.num_frames, request.frame_rate) == (1920, 1088, 150, 25)
    assert box.row(submit(box)).request.frame_rate == 24
    assert box.row(submit(box, fps=None)).request.num_frames == 48


@pytest.mark.parametrize(
    ("name", "quality"),
    [
        ("ltx-2-fast", Quality.FAST),
        ("ltx-2-3-pro", Quality.EXACT),
        ("LTX-2-5-Fast", Quality.FAST),
        (MODEL, Quality.EXACT),
        ("LTX-2", Quality.EXACT),
    ],
)
def test_the_name_of_the_model_chooses_the_quality(box: Box, name: str, quality: Quality) -> None:
    task = box.row(submit(box, model=name))
    assert (task.model, task.request.quality) == (MODEL, quality)
    assert box.row(submit(box, model="ltx-2-3-pro", quality="fast")).request.quality is Quality.FAST


def test_the_operator_chooses_the_names(open_box: Callable[..., Box]) -> None:
    box = open_box(ingress={"ltx_api_models": ["ours-fast"]})
    assert box.row(submit(box, model="ours-fast")).request.quality is Quality.FAST
    assert "ours-fast" in refused(box, model="ltx-2-3-fast")


@pytest.mark.parametrize("motion", CAMERA_MOTIONS)
def test_a_camera_motion_is_a_sentence_of_the_prompt(box: Box, motion: str) -> None:
    assert box.row(submit(box, camera_motion=motion)).request.prompt == f"{PROMPT} {CAMERA_MOTIONS[motion]}"


def test_what_does_not_exist_here_is_passed_over(box: Box) -> None:
    job_id = submit(box, enhance_prompt=True, style="x", camera_motion=None, last_frame_uri=None)
    assert box.row(job_id).request.prompt == PROMPT


def test_a_prompt_is_enhanced_where_there_is_a_language_model(open_box: Callable[..., Box]) -> None:
    with serve_language_model() as language_model:
        box = open_box(enhance=language_model.settings)
        assert box.row(submit(box, enhance_prompt=True)).request.prompt == WRITTEN


def test_a_video_without_audio(box: Box) -> None:
    assert not box.row(submit(box, generate_audio=False)).request.generate_audio


def test_two_images_of_ordinary_size_fit_into_one_body(box: Box) -> None:
    image = data_url(image_file(400, 400, compress_level=0))
    assert len(image) > 256 * 1024
    assert box.row(submit(box, "image-to-video", image_uri=image, last_frame_uri=image)).input_key


def test_a_long_text_that_is_no_data_url_is_refused_at_once(box: Box) -> None:
    uri = "http://192.168.1.26:8004/outputs/?" + "a=b&" * 500_000
    assert "characters was given" in refused(box, "/v2/image-to-video", image_uri=uri)


def test_the_last_frame_of_a_video_is_taken_and_its_spritesheet_is_not(box: Box, tmp_path: Path) -> None:
    frames = np.zeros((9, 64, 64, 3), np.uint8)
    write_mp4(Clip(frames, None, 24_000, Fraction(24)), tmp_path / "video", max_bytes=None, metadata={})
    downloads = box.poll(box.finished((tmp_path / "video").read_bytes()))["downloads"]
    assert box.row(submit(box, "image-to-video", image_uri=downloads["last_frame"])).input_key
    wrong = refused(box, "/v2/image-to-video", image_uri=downloads["spritesheet"])
    assert "downloads.last_frame" in wrong


def test_a_last_frame_goes_along(box: Box) -> None:
    first, last = data_url(image_file()), data_url(image_file(200, 100))
    task = box.row(submit(box, "image-to-video", image_uri=first, last_frame_uri=last))
    images = unpack_inputs(b"".join(box.outputs.open(input_key(task.id)))).images
    assert [each.place.frame for each in images] == [0, task.request.num_frames - 1]
    wrong = refused(box, "/v2/image-to-video", image_uri=first, last_frame_uri="data:image/png;base64,eA==")
    assert wrong.startswith("last_frame_uri must be")
    assert refused(box, last_frame_uri=last).startswith("last_frame_uri must be left out")


def test_fields_of_the_server_go_along_and_the_seed_is_drawn(box: Box) -> None:
    first, second = (box.row(submit(box)).request.seed for _ in range(2))
    assert first != second
    given = box.row(submit(box, seed=7, negative_prompt="text", num_inference_steps=3)).request
    assert (given.seed, given.negative_prompt, given.num_inference_steps) == (7, "text", 3)


def test_without_a_duration_the_model_chooses_if_it_can(open_box: Callable[..., Box]) -> None:
    assert "null was given" in refused(open_box(), duration=None)
    box = open_box()
    box.tasks.record_model(ServedModel(MODEL, replace(LTX_2, duration_head=True), None))
    request = box.row(submit(box, duration=None)).request
    assert (request.length, request.num_frames) == (DurationMode.AUTO, 481)


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"prompt": ""}, "prompt must be"),
        ({"prompt": None}, "prompt must be"),
        ({"prompt": "x" * 5001}, "prompt must be"),
        ({"prompt": "x" * 4990, "camera_motion": "static"}, "prompt must be a text of at most 4974 characters"),
        ({"model": None}, "model must be"),
        ({"model": "ltx-9"}, "model must be"),
        ({"resolution": None}, "resolution must be WIDTHxHEIGHT"),
        ({"resolution": "3840x2160"}, "resolution must be WIDTHxHEIGHT with sides from 64 to 1920; the nearest is"),
        ({"resolution": 720}, "resolution must be"),
        ({"duration": "soon"}, "duration must be"),
        ({"duration": 0}, "duration must be"),
        ({"duration": 21}, "duration must be a number from 0.375 to 20.0417 at 1280x704 and 24 frames per second"),
        ({"duration": 11, "fps": 48}, "duration must be a number from"),
        ({"fps": 0}, "fps must be"),
        ({"fps": 61}, "fps must be"),
        ({"fps": "x"}, "fps must be"),
        ({"generate_audio": "maybe"}, "generate_audio must be true or false"),
        ({"camera_motion": "spin"}, "camera_motion must be one of dolly_in"),
        ({"seed": "x"}, "seed must be"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(box: Box, fields: dict[str, Any], start: str) -> None:
    for path in CREATES:
        assert refused(box, path, **fields).startswith(start)
    assert not any(box.tasks.counts().values())


def test_a_body_that_is_no_json_is_a_400(box: Box) -> None:
    for content, kind in ((b"{", "application/json"), (b"[]", "application/json"), (b"x", "video/mp4"), (b"", "")):
        answer = box.client.post("/v2/text-to-video", content=content, headers={"Content-Type": kind})
        assert refusal(answer)[:2] == (400, "invalid_request_error")


def test_a_body_that_is_too_large_is_a_413(open_box: Callable[..., Box]) -> None:
    box = open_box(limits={"max_image_bytes": 1000})
    for path, fields in (
        ("/v2/text-to-video", {"prompt": "x" * 300_000}),
        ("/v2/image-to-video", {"prompt": "x" * 300_000}),
        ("/v2/image-to-video", {"image_uri": data_url(bytes(300_000))}),
        ("/v2/image-to-video", {"image_uri": data_url(bytes(2_000))}),
    ):
        answer = box.client.post(path, json={**body_for(path), **fields})
        status, kind, message = refusal(answer)
        assert (status, kind) == (413, "request_too_large")
        if "text" in path:
            assert message.startswith("body must be at most 262144 bytes; "), "it is not read any further"


def test_what_does_not_fit_the_memory_is_told_a_resolution_and_a_duration_that_do(box: Box) -> None:
    loaded(box)
    message = refused(box, resolution="1920x1080", duration=6)
    assert message.startswith("duration must be what fits into the GPU's memory: 1920x1088 for ")
    assert message.endswith("; 6 was given")
    duration = float(message.split("1920x1088 for ")[1].split()[0])
    assert box.row(submit(box, resolution="1920x1080", duration=duration)).request.width == 1920


def test_a_repeated_key_makes_one_task_and_another_request_with_it_is_a_400(box: Box) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = (box.client.post("/v2/text-to-video", json=TEXT, headers=headers).json()["id"] for _ in range(2))
    assert first == again
    other = box.client.post("/v2/text-to-video", json={**TEXT, "duration": 3}, headers=headers)
    assert refusal(other)[:2] == (400, "invalid_request_error")


# -- images


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_comes_as_a_data_url(box: Box, kind: str) -> None:
    task = box.row(submit(box, "image-to-video", image_uri=data_url(image_file(image_format=kind), kind.lower())))
    assert task.input_key == input_key(task.id)


def test_a_long_data_url_is_read(box: Box) -> None:
    image = image_file(900, 900, compress_level=0)
    assert len(image) > 1024 * 1024
    assert box.row(submit(box, "image-to-video", image_uri=data_url(image))).input_key


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        7,
        {"image_url": "x"},
        "photo.jpg",
        "ltx://uploads/",
        "ltx://uploads/up_" + "0" * 32,
        "ltx://files/x",
        "http://127.0.0.1/a.png",
        "https://[",
        "data:image/png;base64,!!!",
        "data:,",
        data_url(b"no image"),
        "http://192.168.1.26:8004/outputs/ltx2_" + "0" * 32 + ".jpg",
        "http://192.168.1.26:8004/outputs/../x.jpg",
    ],
)
def test_an_image_that_cannot_be_used_is_a_400(box: Box, uri: object) -> None:
    assert refused(box, "/v2/image-to-video", image_uri=uri).startswith("image_uri must be")


def test_the_poster_of_a_video_is_read_from_the_store(open_box: Callable[..., Box]) -> None:
    box = open_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        task_id = box.submit()
        task = box.start()
        box.complete(task)
        box.outputs.put(f"outputs/ltx2_{task_id}.jpg", image_file(image_format="JPEG"))
        poster = box.poll(task_id)["poster_url"]
        assert box.row(submit(box, "image-to-video", image_uri=poster)).input_key
        unsigned = poster.partition("?")[0]
        assert box.row(submit(box, "image-to-video", image_uri=unsigned)).input_key
        assert "poster_url" in refused(box, "/v2/image-to-video", image_uri=unsigned.replace(".jpg", ".mp4"))
    with speaking_as(box, BOB):
        assert "poster_url" in refused(box, "/v2/image-to-video", image_uri=unsigned)
        assert box.row(submit(box, "image-to-video", image_uri=poster)).owner == "bob"


# -- uploads


def start_upload(box: Box) -> dict[str, Any]:
    answer = box.client.post("/v1/upload", headers={"Content-Length": "0"})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"upload_url", "storage_uri", "expires_at", "required_headers"}
    return dict(answer.json())


def test_an_upload_takes_one_file_for_its_owner(open_box: Callable[..., Box]) -> None:
    box = open_box(api_keys=KEYS, limits={"max_image_bytes": 5000, "max_audio_bytes": 5000, "max_video_bytes": 5000})
    with speaking_as(box, ALICE):
        upload = start_upload(box)
        uri, path = upload["storage_uri"], upload["upload_url"]
        assert "whose file was sent" in refused(box, "/v2/image-to-video", image_uri=uri)
    assert box.client.put(path, content=b"x" * 5001).status_code == 413
    assert box.client.put(path, content=image_file(), headers={"Content-Type": "image/png"}).status_code == 200
    assert box.client.put(path, content=image_file()).status_code == 409
    with speaking_as(box, BOB):
        assert "storage_uri of /v1/upload" in refused(box, "/v2/image-to-video", image_uri=uri)
    with speaking_as(box, ALICE):
        assert box.row(submit(box, "image-to-video", image_uri=uri)).owner == "alice"


def test_an_upload_is_usable_for_a_day_and_its_url_for_an_hour(box: Box) -> None:
    secret, now = box.tasks.shared_secret(TICKET_SIGNING), int(time.time())

    def uploaded(number: int, age_s: int) -> str:
        ticket = UploadTicket(f"{number:032x}", "", now - age_s + TICKET_TTL_S)
        box.outputs.put(input_key(ticket.id), image_file())
        return ticket.encode(secret)

    hours_old, day_old = uploaded(1, USABLE_S - 600), uploaded(2, USABLE_S + 600)
    assert box.client.put(f"/uploads/{hours_old}", content=image_file()).status_code == 403
    assert submit(box, "image-to-video", image_uri=f"ltx://uploads/{hours_old}")
    assert "not expired" in refused(box, "/v2/image-to-video", image_uri=f"ltx://uploads/{day_old}")


# -- errors


@pytest.mark.parametrize("path", NOT_SERVED)
def test_what_is_not_served_is_a_400_with_the_reason(box: Box, path: str) -> None:
    status, kind, message = refusal(box.client.post(path, json={"video_uri": "ltx://uploads/x", "duration": 5}))
    assert (status, kind) == (400, "invalid_request_error")
    assert message == f"this server does not have {path[4:]}; it has {', '.join(ENDPOINTS)}"


def test_a_missing_or_wrong_key_is_an_authentication_error(open_box: Callable[..., Box]) -> None:
    box = open_box(api_keys=KEYS)
    for path in (*CREATES, *NOT_SERVED, "/v1/upload"):
        for headers in ({}, bearer("wrong")):
            assert refusal(box.client.post(path, json=TEXT, headers=headers))[:2] == (401, "authentication_error")


def test_a_full_queue_says_when_to_come_again(open_box: Callable[..., Box]) -> None:
    box = open_box(ingress={"max_queued": 1})
    submit(box)
    for path in CREATES:
        answer = box.client.post(path, json=body_for(path))
        assert refusal(answer)[:2] == (429, "concurrency_limit_error")
        assert int(answer.headers["Retry-After"]) > 0


def test_a_full_store_is_a_503(open_box: Callable[..., Box]) -> None:
    box = open_box(outputs={"min_free_bytes": 2**62})
    answer = box.client.post("/v2/text-to-video", json=TEXT)
    assert refusal(answer)[:2] == (503, "service_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_other_paths_and_methods_have_the_same_error_body(box: Box) -> None:
    assert refusal(box.client.get("/v2/nothing"))[:2] == (404, "not_found_error")
    assert refusal(box.client.get("/v1/text-to-video"))[:2] == (405, "invalid_request_error")
    assert box.client.get("/v1/video/tasks/x").json()["error_code"] == "not_found"
    assert box.client.get("/v1/videos/x").json()["error"]["code"] == "not_found"


def test_the_openapi_document_describes_the_routes_with_their_errors(box: Box) -> None:
    paths = box.client.get("/openapi.json").json()["paths"]
    described = {path for path in paths if path.startswith("/v2/") or path in PATHS}
    media = {f"/{version}/{name}" for version in ("v1", "v2") for name in ENDPOINTS[2:]}
    assert described == {*CREATES, *media, "/v2/{endpoint}/{job_id}", "/v1/upload"}
    for path in CREATES:
        operation = paths[path]["post"]
        assert operation["tags"] == ["ltx"]
        content = operation["requestBody"]["content"]["application/json"]
        assert set(content["schema"]["required"]) == set(body_for(path))
        reference = operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
        assert reference.endswith("/LtxErrorBody")
        assert box.client.post(path.replace("/v1/", "/v2/"), json=content["example"]).status_code == 202

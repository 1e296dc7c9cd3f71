"""The hosted LTX API's audio-to-video, retake and extend."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deployments.ingress.ltx_api.media_mapping import PROMPTS
from deployments.ingress.request_body.given_media import MediaUse
from models.request.edits import Edit
from models.request.enums import Quality
from tests.ingress.conftest import PROMPT, VIDEO, Box, completing, image_file, serve
from tests.ingress.keys import ALICE, BOB, KEYS, speaking_as
from tests.ingress.media import audio_file, edit_of, frames_of, inputs_of, video_file
from tests.ingress.test_ltx_api import refusal

ENDPOINTS = ("audio-to-video", "retake", "extend")
WAITED_S = 60


@pytest.fixture(scope="module")
def clip() -> bytes:
    return video_file(frames_of(50), audio_s=2.0)


def uploaded(box: Box, content: bytes) -> str:
    """The storage_uri of a file that was uploaded."""
    made = box.client.post("/v1/upload").json()
    sent = box.client.put(made["upload_url"], content=content)
    assert sent.status_code == 200, sent.text
    return str(made["storage_uri"])


def submit(box: Box, endpoint: str, **fields: Any) -> str:
    answer = box.client.post(f"/v2/{endpoint}", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def refused(box: Box, endpoint: str, **fields: Any) -> str:
    status, kind, message = refusal(box.client.post(f"/v2/{endpoint}", json={"prompt": PROMPT, **fields}))
    assert (status, kind) == (400, "invalid_request_error"), message
    return message


def test_uploaded_audio_and_an_image_become_a_job(box: Box) -> None:
    image = f"data:image/png;base64,{base64.b64encode(image_file()).decode()}"
    fields = {"audio_uri": uploaded(box, audio_file(2.0)), "image_uri": image, "resolution": "256x128"}
    task_id = submit(box, "audio-to-video", model="ltx-2-3-pro", **fields)
    request = box.row(task_id).request
    assert (request.num_frames, request.frame_rate, request.width, request.height) == (50, 25, 256, 128)
    assert request.quality == Quality.EXACT
    given = inputs_of(box, task_id)
    assert given.audio is not None
    assert len(given.images) == 1
    assert box.client.get(f"/v2/audio-to-video/{task_id}").json()["status"] == "pending"
    assert refusal(box.client.get(f"/v2/text-to-video/{task_id}"))[0] == 404


def test_an_uploaded_video_is_retaken_and_extended(box: Box, clip: bytes) -> None:
    video = uploaded(box, clip)
    window = {"start_time": 0.4, "duration": 1.0, "mode": "replace_video"}
    assert edit_of(box, submit(box, "retake", video_uri=video, **window)) == Edit(10, 35, replaces_audio=False)
    extend = {"video_uri": video, "duration": 1.0, "mode": "start"}
    assert edit_of(box, submit(box, "extend", **extend)) == Edit(0, 37, source_at=25)


def test_the_url_of_a_finished_video_is_a_source(open_box: Callable[..., Box], clip: bytes) -> None:
    box = open_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        source = box.finished(clip)
        url = box.client.get(f"/v2/text-to-video/{source}").json()["result"]["video_url"]
        assert edit_of(box, submit(box, "extend", video_uri=url, duration=1)) == Edit(38, 75)
        assert "no file of this server" in refused(box, "audio-to-video", audio_uri=url)
    with speaking_as(box, BOB):
        assert "the video_url of a completed job of yours" in refused(box, "extend", video_uri=url, duration=1)


def test_version_1_returns_the_mp4(box: Box, clip: bytes) -> None:
    video = uploaded(box, clip)
    with completing(box):
        answer = box.client.post("/v1/extend", json={"prompt": PROMPT, "video_uri": video, "duration": 1})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.content == VIDEO


def test_a_prompt_may_be_missing(box: Box, clip: bytes) -> None:
    answer = box.client.post("/v2/extend", json={"video_uri": uploaded(box, clip), "duration": 1})
    assert box.row(answer.json()["id"]).request.prompt == PROMPTS[MediaUse.EXTEND]
    audio = uploaded(box, audio_file(1.0))
    status, _, message = refusal(box.client.post("/v2/audio-to-video", json={"audio_uri": audio}))
    assert (status, message.startswith("prompt")) == (400, True)


@pytest.mark.parametrize(
    ("endpoint", "fields", "named"),
    [
        ("audio-to-video", {}, "audio_uri"),
        ("audio-to-video", {"audio_uri": "ftp://x/a.mp3"}, "audio_uri"),
        ("retake", {"duration": 2}, "start_time"),
        ("retake", {"start_time": 0}, "duration"),
        ("retake", {"start_time": 0, "duration": 2, "video_uri": "ltx://uploads/x"}, "video_uri"),
        ("retake", {"start_time": 0, "duration": 2, "video_uri": "http://127.0.0.1/a.mp4"}, "video_uri"),
        ("extend", {}, "duration"),
        ("extend", {"duration": 2, "video_uri": "data:video/mp4;base64,AAAA"}, "video_uri"),
        ("extend", {"duration": 2, "video_uri": "https://x/?" + "a" * 9000}, "video_uri"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(box: Box, endpoint: str, fields: dict[str, Any], named: str) -> None:
    assert refused(box, endpoint, **fields).startswith(named)


def test_a_video_behind_a_url_is_fetched(open_box: Callable[..., Box], clip: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": clip})

    with serve(app) as url:  # type: ignore[arg-type]  # any ASGI app will do
        box = open_box(ingress={"image_urls": "any"})
        assert edit_of(box, submit(box, "extend", video_uri=f"{url}/clip.mp4", duration=1)) == Edit(38, 75)
        box = open_box(ingress={"image_urls": "any"}, limits={"max_video_bytes": len(clip) - 1})
        body = {"prompt": PROMPT, "video_uri": f"{url}/clip.mp4", "duration": 1}
        answer: httpx.Response = box.client.post("/v2/extend", json=body)
        assert refusal(answer)[:2] == (413, "request_too_large")

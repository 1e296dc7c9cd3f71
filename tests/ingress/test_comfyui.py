"""ComfyUI's LTX nodes, started with --comfy-api-base: the requests that they send, in their order."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.ingress.conftest import PROMPT, VIDEO, Box, completing, image_file
from tests.ingress.keys import ALICE, BOB, KEYS
from tests.ingress.media import audio_file

OLD_NODE = {"model": "ltx-2-fast", "duration": 8, "resolution": "1920x1080", "fps": 25, "generate_audio": False}
NEW_NODE = {"model": "ltx-2-5-pro", "duration": 2, "resolution": "1280x720", "fps": 24, "generate_audio": True}


@dataclass
class ComfyUI:
    """Sends what ComfyUI's client of its API nodes sends, and requires of the answers what it requires."""

    base_url: str
    key: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, accept: str = "application/json") -> Any:
        about = {"Comfy-Env": "local-git", "Comfy-Usage-Source": "comfyui-api", "Comfy-Core-Version": "0.3.70"}
        headers = {"Accept": accept, "X-API-KEY": self.key, **about, "Comfy-Job-Id": str(uuid.uuid4())}
        if method != "GET":
            headers["Idempotency-Key"] = uuid.uuid4().hex
        answer = httpx.request(method, f"{self.base_url}{path}", json=body, headers=headers, timeout=60)
        if answer.status_code >= 400:
            raise RuntimeError(f"API Error: {answer.json()['error']['message']} {answer.status_code}")
        return answer.content if accept == "*/*" else answer.json()

    def upload(self, name: str, content: bytes, kind: str) -> str:
        made = self.call("POST", "/customers/storage", {"file_name": name, "content_type": kind})
        sent = httpx.put(made["upload_url"], content=content, headers={"Content-Type": kind})
        assert sent.status_code < 400, sent.text
        return str(made["download_url"])

    def generate(self, endpoint: str, **fields: Any) -> bytes:
        """The nodes of LTX-2: the answer is the MP4."""
        return bytes(self.call("POST", f"/proxy/ltx/v1/{endpoint}", {"prompt": PROMPT, **OLD_NODE, **fields}, "*/*"))

    def follow(self, endpoint: str, **fields: Any) -> bytes:
        """The nodes of LTX-2.5: submit, poll, and get the result without a key."""
        job_id = self.call("POST", f"/proxy/ltx/v2/{endpoint}", {"prompt": PROMPT, **fields})["id"]
        while True:
            job = self.call("GET", f"/proxy/ltx/v2/{endpoint}/{job_id}")
            if job["status"] == "completed":
                return httpx.get(job["result"]["video_url"]).raise_for_status().content
            assert job["status"] in ("pending", "processing"), job
            time.sleep(0.05)


@pytest.fixture
def server(served_box: Callable[..., Box]) -> Iterator[Box]:
    with completing(served_box(api_keys=KEYS)) as box:
        yield box


@pytest.fixture
def comfyui(server: Box) -> ComfyUI:
    return ComfyUI(str(server.client.base_url).rstrip("/"), ALICE)


def test_the_nodes_of_ltx_2_get_the_mp4(comfyui: ComfyUI) -> None:
    assert comfyui.generate("text-to-video") == VIDEO
    image_uri = comfyui.upload("ComfyUI_0.png", image_file(), "image/png")
    assert comfyui.generate("image-to-video", image_uri=image_uri) == VIDEO


def test_the_nodes_of_ltx_2_5_submit_and_poll(comfyui: ComfyUI) -> None:
    first, last = (comfyui.upload("ComfyUI_0.png", image_file(), "image/png") for _ in range(2))
    assert comfyui.follow("text-to-video", **NEW_NODE) == VIDEO
    assert comfyui.follow("image-to-video", **NEW_NODE, image_uri=first, last_frame_uri=last) == VIDEO
    audio = comfyui.upload("song.mp4", audio_file(2.0, "mp4", "aac"), "audio/mp4")
    sung = {"model": "ltx-2-5-fast", "resolution": "1920x1080", "audio_uri": audio, "image_uri": first}
    assert comfyui.follow("audio-to-video", **sung) == VIDEO


def test_errors_have_the_message_that_comfyui_shows(comfyui: ComfyUI) -> None:
    with pytest.raises(RuntimeError, match=r"^API Error: resolution must be .* 400$"):
        comfyui.follow("text-to-video", **{**NEW_NODE, "resolution": "huge"})
    with pytest.raises(RuntimeError, match=r"401$"):
        ComfyUI(comfyui.base_url, "comfyui-unknown").call("POST", "/customers/storage", {"file_name": "a.png"})
    image_uri = comfyui.upload("a.png", image_file(), "image/png")
    with pytest.raises(RuntimeError, match=r"image_uri .* 400$"):
        ComfyUI(comfyui.base_url, BOB).generate("image-to-video", image_uri=image_uri)


def test_the_proxys_prefix_opens_the_ltx_api_alone(server: Box) -> None:
    for path in ("/proxy/ltx/v1/videos", "/proxy/ltx/v1/video/tasks", "/proxy/openai/v1/videos", "/proxy/ltx"):
        answer = server.client.get(path, headers={"X-API-KEY": ALICE})
        assert answer.status_code == 401, path
    answer = server.client.get("/v1/video/tasks", headers={"X-API-KEY": ALICE})
    assert answer.status_code == 401, "the header counts for ComfyUI's paths alone"

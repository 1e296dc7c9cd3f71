"""A slow or greedy client costs the server bounded time and bounded memory."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.settings import IngressSettings, Settings
from storage.outputs.local import LocalOutputStore
from tests.ingress.conftest import image_file

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


async def dribble() -> AsyncIterator[bytes]:
    """A body that never ends, one byte at a time."""
    yield b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
    while True:
        await asyncio.sleep(0.02)
        yield b"a"


async def silent() -> AsyncIterator[bytes]:
    yield b"-"
    await asyncio.Event().wait()


@pytest.mark.parametrize("body", [dribble, silent])
@pytest.mark.parametrize("route", ["async_t2v", "t2v", "async_i2v", "i2v"])
def test_a_body_that_does_not_come_in_time_is_408(open_box, route, body):
    box = open_box(ingress=IngressSettings(body_timeout_s=0.3))

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(box.client.app), base_url="http://test") as client:
            headers = FORM if route.endswith("i2v") else {}
            return await client.post(f"/v1/video/{route}", content=body(), headers=headers)

    answer = asyncio.run(post())
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"
    assert (answer.json()["error_code"], answer.json()["retryable"]) == ("body_too_slow", True)
    assert "0.3 s" in answer.json()["error"]


class CountingStore(LocalOutputStore):
    """A real store that counts how many threads write to it at once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.at_once = self.most = 0
        self.both_are_here = threading.Event()

    def put(self, key: str, source: Path | bytes) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.at_once == 2:
            self.both_are_here.set()
        self.both_are_here.wait(10)
        time.sleep(0.05)
        super().put(key, source)
        self.at_once -= 1


def test_images_are_decoded_a_few_at_a_time(box, tmp_path):
    """An image holds a slot of the limit from its first check to its file, however many are sent at once."""
    store = CountingStore(tmp_path / "store")

    async def nudge() -> None: ...

    async def post_all() -> list[int]:
        settings = Settings(ingress=IngressSettings(max_image_decodes=2))
        app = create_app(AppContext(settings, "m", box.tasks, store, nudge))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            form = {"data": {"prompt": "x"}, "files": {"image": ("a.png", image_file())}}
            answers = await asyncio.gather(*(client.post("/v1/video/async_i2v", **form) for _ in range(8)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(post_all()) == [200] * 8
    assert store.most == 2

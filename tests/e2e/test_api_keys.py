"""Keys on the real server: they come from the environment, reach every deployment, and stay valid after a restart."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server, running_server
from tests.ingress.keys import ALICE, BOB, KEYS, bearer

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, environment={"LTX2_API_KEYS": json.dumps(KEYS)}) as running:
        yield running


def gpu_s(server: Server, key: str) -> float:
    return float(server.client.get("/v1/video/usage", headers=bearer(key)).json()["gpu_s"])


def test_a_key_makes_a_video_that_others_open_by_its_url_alone(server: Server) -> None:
    assert server.client.get("/health").json()["keys_required"] is True
    assert server.client.post("/v1/video/async_t2v", json={"prompt": "x"}).status_code == 401
    server.client.headers.update(bearer(ALICE))
    body = server.wait(server.submit())
    assert body["status"] == "completed", body
    path = f"/v1/video/tasks/{body['task_id']}"
    assert httpx.get(server.url + path, headers=bearer(BOB)).status_code == 404
    while not gpu_s(server, ALICE):
        time.sleep(0.2)
    assert gpu_s(server, BOB) == 0

    server.interrupt()
    server.start()
    video = httpx.get(body["url"])
    assert (video.status_code, len(video.content)) == (200, body["size_bytes"])
    assert httpx.get(body["url"].partition("?")[0]).status_code == 401
    assert httpx.get(body["url"], headers=bearer(BOB), params={"signature": "A" * 43}).status_code == 403

"""Both clients and the command send the key to their server, and to no other host."""

import asyncio

import pytest

from ltx2_client import ApiError, AsyncClient, Client, ClientError
from ltx2_client.cli import main
from ltx2_client.core import Request
from ltx2_client.transport import arguments, key_headers
from tests.client.server import VIDEO, serve
from tests.ingress.keys import ALICE, BOB, KEYS, bearer

PROMPT = "A paper boat drifts across a bowl."


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with serve(folder, api_keys=KEYS) as running:
        yield running


def test_a_video_is_made_with_a_key(server, tmp_path):
    with Client(server.url, api_key=ALICE, poll_interval_s=0.05) as client:
        client.generate(PROMPT, tmp_path / "boat.mp4", num_inference_steps=2)
        assert len(client.tasks().tasks) == 1
    assert (tmp_path / "boat.mp4").read_bytes() == VIDEO
    with Client(server.url, api_key=BOB) as other:
        assert other.tasks().tasks == ()


def test_the_client_that_waits_for_nothing_sends_it_too(server):
    async def count() -> int:
        async with AsyncClient(server.url, api_key=ALICE) as client:
            return len((await client.tasks()).tasks)

    assert asyncio.run(count()) == 0


def test_without_a_key_the_refusal_says_what_to_do(server, monkeypatch, capsys):
    monkeypatch.delenv("LTX_API_KEY", raising=False)
    with Client(server.url) as client, pytest.raises(ApiError) as refused:
        client.tasks()
    assert (refused.value.status, refused.value.code) == (401, "unauthorized")
    assert main(["tasks", "--server", server.url]) == 1
    assert "LTX_API_KEY" in capsys.readouterr().err
    with Client(server.url) as client:
        assert client.health().status == "ok"


def test_the_command_takes_it_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("LTX_API_KEY", ALICE)
    assert main(["tasks", "--server", server.url]) == 0
    monkeypatch.setenv("LTX_API_KEY", "wrong")
    assert main(["tasks", "--server", server.url]) == 1


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("/v1/video/tasks", True),
        ("https://box:8004/outputs/a.mp4", True),
        ("https://box:80045/outputs/a.mp4", False),
        ("https://box:8004.evil.example/outputs/a.mp4", False),
        ("http://box:8004/outputs/a.mp4", False),
        ("https://bucket.example/a.mp4?signature=x", False),
    ],
)
def test_the_key_goes_to_the_server_alone(url, sent):
    headers = arguments("https://box:8004", Request("GET", url), bearer(ALICE))["headers"]
    assert ("Authorization" in headers) == sent


@pytest.mark.parametrize("key", ["two words", "schl\u00fcssel", "line\nbreak"])
def test_what_no_header_can_hold_is_refused(key):
    with pytest.raises(ClientError, match="is not a valid key"):
        key_headers(key)

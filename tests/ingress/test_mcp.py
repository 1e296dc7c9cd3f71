"""The tools at /mcp, called by the official Python client over HTTP, in both of its protocol versions."""

import asyncio
import base64
import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.ingress.mcp.server import MAX_BODY_BYTES
from deployments.ingress.mcp.tool_schemas import describe_tools
from deployments.ingress.uploads.tickets import TICKET_SIGNING, UploadTicket
from deployments.observability.metrics.definitions import HTTP_REQUEST_DURATION_SECONDS, HTTP_REQUESTS
from deployments.settings import Settings
from models.progress import Progress, Stage
from models.request.enums import Control
from models.request.loras import KnownLora
from models.request.request import RequestLimits
from storage.inputs import unpack_inputs
from storage.outputs.store import preview_key
from tests.ingress.conftest import MODEL, POSTER, PROMPT, Box, image_file, serve
from tests.ingress.keys import ALICE, BOB, KEYS, bearer
from tests.metrics.recorded import RecordedMetrics

TOOLS = [
    "create_video",
    "edit_video",
    "wait_for_video",
    "list_videos",
    "estimate_video",
    "cancel_video",
    "create_image_upload",
    "create_media_upload",
    "get_guide",
]
VERSIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
PNG = "data:image/png;base64," + base64.b64encode(image_file()).decode()
SMALL = {"prompt": PROMPT, "size": "128x64", "seconds": 1}
ZEROS = "0" * 32
KNOWN = {
    "ink": KnownLora("ink drawing", 1.5),
    "dolly_in": KnownLora(),
    "canny": KnownLora(control=Control.CANNY),
}


@pytest.fixture(params=VERSIONS)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def connected(url: str, mode: str = "auto", key: str | None = None) -> AsyncIterator[Client]:
    headers = {} if key is None else bearer(key)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http_client,
        Client(streamable_http_client(f"{url}/mcp", http_client=http_client), mode=mode) as client,
    ):
        yield client


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


async def ask(url: str, tool: str, protocol: str = "auto", key: str | None = None, **arguments: Any) -> Any:
    """Call a tool on a new connection. Returns its result."""
    async with connected(url, protocol, key) as client:
        return await client.call_tool(tool, arguments)


def call(box: Box, tool: str, protocol: str = "auto", key: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Call a tool that succeeds. Returns its object."""
    result = run(ask(url_of(box), tool, protocol, key, **arguments))
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return dict(result.structured_content)


def refusal(box: Box, tool: str, key: str | None = None, **arguments: Any) -> str:
    """Call a tool that refuses. Returns its message."""
    result = run(ask(url_of(box), tool, key=key, **arguments))
    assert result.is_error, result.content
    return str(result.content[0].text)


def url_of(box: Box) -> str:
    return str(box.client.base_url).rstrip("/")


def post(box: Box, message: dict[str, Any], **headers: str) -> httpx.Response:
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json", **headers}
    return box.client.post("/mcp", content=json.dumps(message), headers=accepted)


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def test_both_protocol_versions_list_the_tools_in_order(served_box: Callable[..., Box], mode: str) -> None:
    box = served_box()

    async def look() -> tuple[Any, Any]:
        async with connected(url_of(box), mode) as client:
            return client.protocol_version, await client.list_tools()

    version, listed = run(look())
    assert version == VERSIONS[mode]
    assert [tool.name for tool in listed.tools] == TOOLS
    for tool in listed.tools:
        assert tool.title
        assert tool.description
        assert tool.annotations.read_only_hint is not None
        assert tool.input_schema["type"] == "object"


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """All schemas inside a schema, and the schema."""
    yield node
    for inner in node.get("properties", {}).values():
        yield from schemas(inner)
    if "items" in node:
        yield from schemas(node["items"])


def test_every_schema_is_flat_as_narrow_converters_need_it() -> None:
    for about in describe_tools(RequestLimits(), KNOWN).values():
        for schema in (about["input_schema"], about.get("output_schema", {"type": "object"})):
            for each in schemas(schema):
                assert isinstance(each["type"], str)
                assert not {"anyOf", "oneOf", "allOf", "const", "$ref"} & each.keys()


def test_a_video_is_created_awaited_and_opened(served_box: Callable[..., Box], mode: str) -> None:
    box = served_box()
    made = call(box, "create_video", mode, generate_audio=False, **SMALL)
    assert made["status"] == "queued"
    assert made["size"] == "128x64"
    task = box.row(made["video_id"])
    assert (task.request.num_frames, task.request.generate_audio) == (25, False)
    assert box.poll(made["video_id"])["state"] == "queued"  # the other routes see it
    box.complete(box.start())
    done = call(box, "wait_for_video", mode, video_id=made["video_id"])
    assert done["status"] == "completed"
    assert httpx.get(done["video_url"]).content == bytes(range(256)) * 40
    assert box.client.get("/v1/videos/video_" + made["video_id"]).json()["status"] == "completed"


def test_a_completed_video_has_a_link_for_the_user_and_a_small_poster(served_box: Callable[..., Box]) -> None:
    box = served_box()
    task_id = box.finished()
    box.outputs.put(box.row(task_id).output.poster_key, image_file(1024, 512, "JPEG"))  # type: ignore[union-attr]
    result = run(ask(url_of(box), "wait_for_video", video_id=task_id))
    _, link, poster = result.content
    assert str(link.uri) == result.structured_content["video_url"]
    assert link.mime_type == "video/mp4"
    assert link.annotations.audience == ["user"]
    assert poster.mime_type == "image/jpeg"
    assert len(base64.b64decode(poster.data)) < len(image_file(1024, 512, "JPEG"))


def test_a_video_that_is_being_made_has_its_preview(served_box: Callable[..., Box]) -> None:
    box = served_box()
    task_id = box.submit()
    task = box.start()
    box.tasks.report_progress(task, Progress(Stage.DENOISING, 4))
    box.outputs.put(preview_key(task_id), POSTER)
    arguments = {"video_id": task_id, "wait_seconds": 0}
    assert len(run(ask(url_of(box), "wait_for_video", **arguments)).content) == 1
    assert box.tasks.record_preview(task, 4)
    _, preview = run(ask(url_of(box), "wait_for_video", **arguments)).content
    assert (preview.mime_type, base64.b64decode(preview.data)) == ("image/jpeg", POSTER)
    box.outputs.delete(preview_key(task_id))
    assert len(run(ask(url_of(box), "wait_for_video", **arguments)).content) == 1


def test_a_wait_reports_rising_progress_and_returns_the_present_state(
    served_box: Callable[..., Box], mode: str
) -> None:
    box = served_box()
    made = call(box, "create_video", **SMALL)
    told: list[float] = []
    begun = asyncio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)
        begun.set()

    async def wait() -> Any:
        async with connected(url_of(box), mode) as client:
            arguments = {"video_id": made["video_id"], "wait_seconds": 30}
            waiting = asyncio.create_task(client.call_tool("wait_for_video", arguments, progress_callback=tell))
            await begun.wait()
            await asyncio.to_thread(lambda: box.complete(box.start()))
            return await waiting

    assert run(wait()).structured_content["status"] == "completed"
    assert told == sorted(told)


def test_a_wait_of_zero_is_a_plain_look(served_box: Callable[..., Box]) -> None:
    box = served_box()
    made = call(box, "create_video", **SMALL)
    looked = call(box, "wait_for_video", video_id=made["video_id"], wait_seconds=0)
    assert looked["status"] == "queued"
    assert "wait_for_video" in looked["next_step"]


def test_without_a_free_place_to_wait_the_present_state_comes_at_once(served_box: Callable[..., Box]) -> None:
    box = served_box(ingress={"max_sync_requests": 1})
    made = call(box, "create_video", **SMALL)

    async def both() -> None:
        async with connected(url_of(box)) as first, connected(url_of(box)) as second:
            arguments = {"video_id": made["video_id"], "wait_seconds": 50}
            told = asyncio.Event()

            async def tell(progress: float, total: float | None, message: str | None) -> None:
                told.set()

            waiting = asyncio.create_task(first.call_tool("wait_for_video", arguments, progress_callback=tell))
            await told.wait()
            looked = await second.call_tool("wait_for_video", arguments)
            assert looked.structured_content["status"] == "queued"
            assert not waiting.done()
            box.tasks.cancel(made["video_id"])
            assert (await waiting).structured_content["status"] == "canceled"

    run(both())


def test_a_client_that_leaves_ends_its_wait_and_not_the_video(served_box: Callable[..., Box], mode: str) -> None:
    box = served_box(ingress={"max_sync_requests": 1})
    made = call(box, "create_video", **SMALL)

    async def leave() -> None:
        told = asyncio.Event()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            told.set()

        async def wait() -> None:
            async with connected(url_of(box), mode) as client:
                arguments = {"video_id": made["video_id"], "wait_seconds": 50}
                await client.call_tool("wait_for_video", arguments, progress_callback=tell)

        waiting = asyncio.create_task(wait())
        await told.wait()
        waiting.cancel()
        await asyncio.wait([waiting])

    async def wait_again() -> None:
        """The only place is free again: this call waits, so it gets progress."""
        told: list[float] = []

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        async with connected(url_of(box), mode) as client:
            while not told:
                arguments = {"video_id": made["video_id"], "wait_seconds": 0.2}
                await client.call_tool("wait_for_video", arguments, progress_callback=tell)

    run(leave())
    run(wait_again())
    assert box.poll(made["video_id"])["state"] == "queued"


def test_replicas_share_everything_and_a_key_sees_only_its_own_videos(
    served_box: Callable[..., Box], mode: str
) -> None:
    box = served_box(api_keys=KEYS)

    async def nudge() -> None:
        """Do nothing: no task is rendered."""

    second = AppContext(Settings(api_keys=KEYS), MODEL, box.tasks, box.outputs, nudge)
    with serve(create_app(second)) as other:
        made = call(box, "create_video", mode, ALICE, **SMALL)
        uploaded = call(box, "create_image_upload", mode, ALICE)
        put_url = uploaded["put_url"].replace(url_of(box), other)
        assert httpx.put(put_url, content=image_file()).status_code == 200
        from_image = run(ask(other, "create_video", mode, ALICE, image=uploaded["upload_id"], **SMALL))
        assert not from_image.is_error
        assert box.row(from_image.structured_content["video_id"]).input_key
        box.complete(box.start())
        done = run(ask(other, "wait_for_video", mode, ALICE, video_id=made["video_id"])).structured_content
        assert httpx.get(done["video_url"].replace(other, url_of(box))).status_code == 200
        assert httpx.get(done["video_url"].split("?")[0]).status_code == 401
        for tool in ("wait_for_video", "cancel_video"):
            foreign = run(ask(other, tool, mode, BOB, video_id=made["video_id"]))
            assert foreign.is_error
            assert "there is no task" in foreign.content[0].text
        assert run(ask(other, "list_videos", mode, BOB)).structured_content == {"videos": []}
        assert len(run(ask(other, "list_videos", mode, ALICE)).structured_content["videos"]) == 2


def test_the_middleware_stands_before_it(served_box: Callable[..., Box]) -> None:
    box = served_box(api_keys=KEYS)
    refused = post(box, LIST)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="ltx2"'
    assert post(box, LIST, **bearer("ltx2_unknown")).status_code == 401
    assert post(box, LIST, **bearer(ALICE), **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    for method in ("GET", "DELETE"):
        answer = box.client.request(method, "/mcp", headers={**bearer(ALICE), "Accept": "text/event-stream"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    large = post(box, {**LIST, "params": {"_meta": {"x": "x" * MAX_BODY_BYTES}}}, **bearer(ALICE))
    assert large.status_code == 413
    assert large.json()["error_code"] == "too_large"
    assert post(box, LIST, **bearer(ALICE)).status_code == 200


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("create_video", {}, "prompt must be a text of 1 to 5000 characters; nothing was given"),
    ("create_video", {"prompt": " "}, "prompt must be"),
    ("create_video", {"prompt": PROMPT, "size": "big"}, "size must be WIDTHxHEIGHT"),
    (
        "create_video",
        {"prompt": PROMPT, "size": "4096x4096"},
        "size must be WIDTHxHEIGHT with sides from 64 to 1920",
    ),
    ("create_video", {"prompt": PROMPT, "size": "1920x1920", "seconds": 20}, "seconds must be a number from"),
    ("create_video", {"prompt": PROMPT, "seconds": "long"}, 'seconds must be a number from 0.15 to 20.1; "long"'),
    ("create_video", {"prompt": PROMPT, "quality": "best"}, "quality must be one of exact, fast"),
    ("create_video", {"prompt": PROMPT, "generate_audio": "no"}, "generate_audio must be true or false"),
    ("create_video", {"prompt": PROMPT, "seed": -5}, "seed must be a whole number"),
    ("create_video", {"prompt": PROMPT, "image": "photo.jpg"}, "image must be an http or https url, an upload_id"),
    ("create_video", {"prompt": PROMPT, "image": "data:image/png;base64,!!!"}, "image must be"),
    (
        "create_video",
        {"prompt": PROMPT, "image": "http://127.0.0.1:1/x"},
        "image must be a url of the open internet",
    ),
    ("create_video", {"prompt": PROMPT, "end_image": "photo.jpg"}, "end_image must be an http or https url"),
    ("create_video", {"prompt": PROMPT, "image_strength": 2}, "image_strength must be a number from 0 to 1; 2 was"),
    ("create_video", {"prompt": PROMPT, "image_strength": 0.5}, "image_strength must be left out: there is no image"),
    ("create_video", {"prompt": PROMPT, "keyframes": "photo.jpg"}, "keyframes must be a list of at most 8 objects"),
    ("create_video", {"prompt": PROMPT, "keyframes": [{"at": "1s"}]}, "keyframes[0].image must be"),
    ("create_video", {"prompt": PROMPT, "keyframes": [{"image": "a", "at": "1s"}]}, "keyframes[0].image must be an"),
    ("create_video", {"prompt": PROMPT, "keyframes": [{"image": PNG, "at": "9s"}]}, "keyframes must be a frame from 0"),
    (
        "create_video",
        {"prompt": PROMPT, "keyframes": [{"image": PNG, "frame": 1}]},
        "keyframes[0] must be an object",
    ),
    ("create_video", {"prompt": PROMPT, "request_key": "ключ"}, "request_key must be"),
    ("wait_for_video", {"video_id": ZEROS, "wait_seconds": 51}, "wait_seconds must be a number from 0 to 50; 51"),
    ("wait_for_video", {"video_id": ZEROS}, "there is no task"),
    ("list_videos", {"limit": 0}, "limit must be a whole number from 1 to 50; 0 was given"),
    ("list_videos", {"status": "done"}, "status must be one of queued, in_progress"),
    ("list_videos", {"before": "x"}, "before must be"),
    ("estimate_video", {"prompt": PROMPT, "seconds": True}, "seconds must be"),
    ("cancel_video", {"video_id": ZEROS, "delete_files": "yes"}, "delete_files must be true or false"),
    ("make_video", {}, "name must be one of create_video"),
]


def test_a_wrong_argument_is_named_with_what_is_allowed(served_box: Callable[..., Box]) -> None:
    box = served_box()

    async def look() -> list[tuple[str, str]]:
        async with connected(url_of(box)) as client:
            answers = [(await client.call_tool(tool, arguments), named) for tool, arguments, named in WRONG]
        assert all(answer.is_error for answer, _ in answers)
        return [(answer.content[0].text, named) for answer, named in answers]

    for message, named in run(look()):
        assert message.startswith(named)
        assert "http" not in message or "url" in message  # no link to another site
    assert call(box, "list_videos") == {"videos": []}


def test_a_request_key_starts_nothing_twice(served_box: Callable[..., Box]) -> None:
    box = served_box()
    first, second = (call(box, "create_video", request_key="one", **SMALL) for _ in range(2))
    assert first["video_id"] == second["video_id"]
    assert "key" in refusal(box, "create_video", request_key="one", **{**SMALL, "prompt": "Another one"})
    assert call(box, "create_video", **SMALL)["seed"] != first["seed"]


def test_rounded_sizes_and_unknown_arguments_are_told(served_box: Callable[..., Box]) -> None:
    made = call(served_box(), "create_video", prompt=PROMPT, size="1000x500", style="noir", width=64)
    assert made["size"] == "1024x512"
    assert made["ignored"] == ["style", "width"]
    assert "1000x500" in made["adjusted"][0]


def test_videos_are_listed_in_pages_and_by_status(served_box: Callable[..., Box]) -> None:
    box = served_box()
    ids = [call(box, "create_video", **SMALL)["video_id"] for _ in range(3)]
    page = call(box, "list_videos", limit=2)
    assert [each["video_id"] for each in page["videos"]] == ids[:0:-1]
    rest = call(box, "list_videos", limit=2, before=page["next_before"])
    assert [each["video_id"] for each in rest["videos"]] == ids[:1]
    assert "next_before" not in rest
    box.start()
    assert [each["video_id"] for each in call(box, "list_videos", status="in_progress")["videos"]] == ids[:1]


def test_cancel_stops_a_video_and_removes_an_ended_one_only_if_asked(served_box: Callable[..., Box]) -> None:
    box = served_box()
    made = call(box, "create_video", **SMALL)
    assert call(box, "cancel_video", video_id=made["video_id"])["status"] == "canceled"
    done = box.finished()
    assert call(box, "cancel_video", video_id=done)["status"] == "completed"
    assert "deleted" in call(box, "cancel_video", video_id=done, delete_files=True)["error"]
    assert box.outputs.stat(f"outputs/ltx2_{done}.mp4") is None


def test_an_estimate_starts_nothing(served_box: Callable[..., Box]) -> None:
    box = served_box()
    estimated = call(box, "estimate_video", **SMALL)
    assert estimated == {"fits": True, "nearest": [], "queued": 0, "adjusted": []}
    assert call(box, "list_videos") == {"videos": []}


def test_the_guide_has_advice_and_this_servers_limits(served_box: Callable[..., Box]) -> None:
    result = run(ask(url_of(served_box(limits={"max_side_px": 1024})), "get_guide"))
    assert "cinematographer" in result.content[0].text
    assert "up to 1024 pixels" in result.content[0].text


def test_an_upload_url_takes_one_image_for_its_owner(served_box: Callable[..., Box]) -> None:
    box = served_box(api_keys=KEYS, limits={"max_image_bytes": 5000, "max_audio_bytes": 5000, "max_video_bytes": 5000})
    ticket = call(box, "create_image_upload", key=ALICE)
    assert ticket["max_bytes"] == 5000
    unsent = refusal(box, "create_video", ALICE, image=ticket["upload_id"], **SMALL)
    assert unsent.startswith("image must be an upload_id whose file was sent")
    assert httpx.put(ticket["put_url"], content=b"x" * 5001).status_code == 413
    assert httpx.put(ticket["put_url"], content=b"").status_code == 422
    assert httpx.put(ticket["put_url"], content=image_file()).status_code == 200
    assert httpx.put(ticket["put_url"], content=image_file()).status_code == 409
    assert httpx.put(ticket["put_url"][:-8] + "x" * 8, content=image_file()).status_code == 403
    assert "image must be" in refusal(box, "create_video", BOB, image=ticket["upload_id"], **SMALL)
    call(box, "create_video", key=ALICE, image=ticket["upload_id"], **SMALL)
    old = UploadTicket(ZEROS, "alice", int(time.time()) - 1).encode(box.tasks.shared_secret(TICKET_SIGNING))
    assert httpx.put(f"{url_of(box)}/uploads/{old}", content=image_file()).status_code == 403
    assert "not expired" in refusal(box, "create_video", ALICE, image=old, **SMALL)


def test_an_image_comes_as_a_data_url(served_box: Callable[..., Box]) -> None:
    box = served_box()
    made = call(box, "create_video", image=PNG, **SMALL)
    assert box.row(made["video_id"]).input_key
    assert call(box, "estimate_video", image=PNG, **SMALL)["fits"]
    broken = "data:image/png;base64," + base64.b64encode(b"no image").decode()
    assert refusal(box, "create_video", image=broken, **SMALL).startswith("image must be")


def test_a_last_image_and_keyframes_come_in_each_way(served_box: Callable[..., Box], image_server: str) -> None:
    box = served_box(ingress={"image_urls": "any"})
    ticket = call(box, "create_image_upload")
    assert httpx.put(ticket["put_url"], content=image_file()).status_code == 200
    images = {
        "end_image": ticket["upload_id"],
        "end_image_strength": 0.5,
        "keyframes": [{"image": f"{image_server}/image", "at": "0.36s", "strength": 0.25}, {"image": PNG, "at": 3}],
    }
    made = call(box, "create_video", **images, **SMALL)
    key = box.row(made["video_id"]).input_key
    assert key
    kept = unpack_inputs(b"".join(box.outputs.open(key))).images
    assert [(each.place.frame, each.place.strength) for each in kept] == [(24, 0.5), (9, 0.25), (3, 1)]
    assert call(box, "estimate_video", **images, **SMALL)["fits"]
    broken = "data:image/png;base64," + base64.b64encode(b"no image").decode()
    assert refusal(box, "create_video", end_image=broken, **SMALL).startswith("end_image must be")
    keyframes = [{"image": broken, "at": "5"}]
    assert refusal(box, "create_video", keyframes=keyframes, **SMALL).startswith("keyframes must be")


@pytest.fixture
def image_server() -> Iterator[str]:
    """A server of images on 127.0.0.1: /image, /large (endless), /gone (404), /moved (302)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/image":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(image_file())
            elif self.path == "/large":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(bytes(65536))
            else:
                self.send_response(302 if self.path == "/moved" else 404)
                self.send_header("Location", "/image")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_image_is_fetched_from_a_url_within_limits(served_box: Callable[..., Box], image_server: str) -> None:
    box = served_box(ingress={"image_urls": "any"}, limits={"max_image_bytes": 100_000})
    made = call(box, "create_video", image=f"{image_server}/image", **SMALL)
    assert box.row(made["video_id"]).input_key
    for path, told in (("large", "at most 100000 bytes"), ("gone", "answered 404"), ("moved", "answered 302")):
        assert told in refusal(box, "create_video", image=f"{image_server}/{path}", **SMALL)
    by_name = image_server.replace("127.0.0.1", "localhost")
    guarded = served_box()
    for url in (f"{image_server}/image", f"{by_name}/image", "http://[::ffff:127.0.0.1]/image", "http://2130706433/"):
        assert "of the open internet" in refusal(guarded, "create_video", image=url, **SMALL)


def test_a_full_queue_is_told_to_the_model(served_box: Callable[..., Box]) -> None:
    box = served_box(ingress={"max_queued": 1})
    call(box, "create_video", **SMALL)
    assert "try again" in refusal(box, "create_video", **SMALL)


KEYS_INSIDE = st.sampled_from(["image", "at", "strength"]) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS_INSIDE, inner, max_size=3),
    max_leaves=5,
)
NAMES = sorted(
    {name for about in describe_tools(RequestLimits(), KNOWN).values() for name in about["input_schema"]["properties"]}
)


def test_no_arguments_make_an_error_of_the_server(served_box: Callable[..., Box]) -> None:
    box = served_box()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(TOOLS), st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES, max_size=5))
    def fuzz(tool: str, arguments: dict[str, Any]) -> None:
        arguments.pop("wait_seconds", None)
        message = {**LIST, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        answer = post(box, message)
        assert answer.status_code < 500
        if answer.status_code == 200:
            data = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
            told = json.loads(data.removeprefix("data: "))
            assert "error of its own" not in answer.text
            assert "result" in told or told["error"]["code"] in (-32602, -32600, -32700), told

    fuzz()


def test_metrics_know_the_routes_and_no_names_of_clients(served_box: Callable[..., Box]) -> None:
    metrics = RecordedMetrics()
    box = served_box(metrics=metrics)
    call(box, "create_video", **SMALL)
    refusal(box, "a_name_of_the_client")
    box.client.put("/uploads/a_name_of_the_client", content=b"x")
    assert metrics.value(HTTP_REQUESTS, route="/uploads/{upload_id}", method="PUT", status="403") == 1
    assert metrics.seen(HTTP_REQUEST_DURATION_SECONDS, route="/mcp")
    assert "a_name_of_the_client" not in str(metrics.values)


def test_the_sdk_is_imported_only_by_a_request() -> None:
    program = "import sys, deployments.ingress.deployment; print('mcp' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"

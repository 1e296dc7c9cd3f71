"""The original API document against the real server: submit, poll, download, and errors."""

import asyncio
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.observability.metrics.definitions import ALL_METRICS
from models.names import DEMO_MODEL_NAME
from models.startup.freed_memory import KEEP_FREED_MEMORY
from tests.e2e.one_server.conftest import IDLE_UNLOAD_S, MAX_STEPS_IN_ENVIRONMENT
from tests.e2e.scrape import our_samples
from tests.e2e.server import QUICK, Server
from tests.ingress.webhooks.receivers import Receiver
from tests.mp4_boxes import aac_object_type, avc_profile_and_level, read_movie

MAIN_PROFILE = 77
AAC_LC = 2
FURTHER_FILES = {"audio", "last_frame", "thumbnail", "spritesheet", "webm", "mov", "gif"}

pytestmark = pytest.mark.timeout(600)


def _photo() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((300, 400)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_text_becomes_a_video_that_can_be_downloaded(server: Server) -> None:
    answer = server.client.post("/v1/video/async_t2v", json=QUICK)
    assert answer.status_code == 200
    submitted = answer.json()
    assert submitted["status"] == "processing"
    assert submitted["message"] == "Task queued. Poll GET /v1/video/tasks/{task_id}"
    body = server.wait(submitted["task_id"])
    assert body["status"] == "completed", body
    assert body["url"] == f"{server.url}/outputs/ltx2_{submitted['task_id']}.mp4"
    assert body["model"] == DEMO_MODEL_NAME
    assert body["progress"] == 1.0
    video = server.client.get(body["url"])
    assert video.headers["content-type"] == "video/mp4"
    assert len(video.content) == body["size_bytes"]
    poster = server.client.get(body["poster_url"])
    assert Image.open(io.BytesIO(poster.content)).size == (QUICK["width"], QUICK["height"])


def test_a_video_is_seen_while_it_is_made_and_its_preview_goes_with_the_render(server: Server) -> None:
    """Through the whole server: Generator, output store, row, event stream and route."""
    task_id, seen = server.submit(num_inference_steps=60), []
    with server.client.stream("GET", f"/v1/video/tasks/{task_id}/events") as events:
        lines = events.iter_lines()
        while (event := next(line for line in lines if line.startswith("event: "))) != "event: completed":
            body = json.loads(next(lines).removeprefix("data: "))
            if event == "event: preview" and (answer := server.client.get(body["url"])).status_code == 200:
                seen.append((body["step"], answer.content))
    assert seen
    assert [step for step, _ in seen] == sorted({step for step, _ in seen})
    assert {Image.open(io.BytesIO(content)).size for _, content in seen} == {(QUICK["width"], QUICK["height"])}
    assert server.client.get(f"/v1/video/tasks/{task_id}/preview").status_code == 404


def test_the_environment_wins_over_the_file(server: Server) -> None:
    fields = {**QUICK, "num_inference_steps": MAX_STEPS_IN_ENVIRONMENT + 1}
    refused = server.client.post("/v1/video/async_t2v", json=fields)
    assert refused.status_code == 422
    assert refused.json()["allowed"] == f"a whole number from 2 to {MAX_STEPS_IN_ENVIRONMENT}"


def test_a_generator_on_a_cpu_keeps_freed_memory(server: Server) -> None:
    server.wait(server.submit())
    [generator] = server.replicas("Generator")
    assert KEEP_FREED_MEMORY.items() <= generator.environ().items()
    [ingress] = server.replicas("Ingress")
    assert not KEEP_FREED_MEMORY.keys() & ingress.environ().keys()


def test_the_file_is_what_phones_play(server: Server, tmp_path: Path) -> None:
    body = server.wait(server.submit(num_frames=20, frame_rate=23.976))
    path = tmp_path / "video.mp4"
    path.write_bytes(server.client.get(body["url"]).content)
    movie = read_movie(path)
    assert movie.order.index("moov") < movie.order.index("mdat")
    image, audio = movie.only("vide"), movie.only("soun")
    assert image.header_s == pytest.approx(20 * 1001 / 24000, abs=1e-4)
    assert audio.header_s == pytest.approx(image.header_s, abs=1e-4)
    assert avc_profile_and_level(image.entry)[0] == MAIN_PROFILE
    assert aac_object_type(audio.entry) == AAC_LC
    assert not image.has_composition_offsets, "B-frames"


def test_a_video_without_audio_has_the_same_frames_and_further_files(server: Server, tmp_path: Path) -> None:
    bodies = [server.wait(server.submit(seed=5, generate_audio=each)) for each in (True, False)]
    paths = [tmp_path / "audio.mp4", tmp_path / "silent.mp4"]
    for path, body in zip(paths, bodies, strict=True):
        path.write_bytes(server.client.get(body["url"]).content)
    assert [track.kind for track in read_movie(paths[1]).tracks] == ["vide"]
    decoded = []
    for path in paths:
        with av.open(str(path)) as container:
            decoded.append(np.stack([frame.to_ndarray() for frame in container.decode(video=0)]))
    assert np.array_equal(*decoded)
    assert [set(body["downloads"]) for body in bodies] == [FURTHER_FILES, FURTHER_FILES - {"audio"}]
    for body in bodies:
        for url in body["downloads"].values():
            assert server.client.get(url, timeout=60).status_code == 200


def test_an_image_becomes_a_video(server: Server) -> None:
    fields = {**{name: str(value) for name, value in QUICK.items()}, "seed": "", "fit": "match"}
    answer = server.client.post("/v1/video/async_i2v", data=fields, files={"image": ("photo.jpg", _photo())})
    assert answer.status_code == 200, answer.text
    body = server.wait(answer.json()["task_id"])
    assert body["status"] == "completed", body
    assert body["seed"] == answer.json()["seed"]
    assert not (server.folder / "data/outputs/inputs" / body["task_id"]).exists(), "the image goes when its task ends"


def test_the_same_seed_gives_the_same_file_and_another_prompt_another(server: Server) -> None:
    bodies = [server.wait(server.submit(seed=7)), server.wait(server.submit(seed=7))]
    files = [server.client.get(body["poster_url"]).content for body in bodies]
    assert files[0] == files[1]
    other = server.wait(server.submit(seed=8))
    assert server.client.get(other["poster_url"]).content != files[0]


def test_a_synchronous_request_answers_with_the_finished_task(server: Server) -> None:
    answer = server.client.post("/v1/video/t2v", json=QUICK, timeout=120)
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert server.client.head(answer.json()["url"]).status_code == 200


def test_a_synchronous_client_that_hangs_up_loses_nothing(server: Server) -> None:
    def newest() -> str:
        (task,) = server.client.get("/v1/video/tasks", params={"limit": 1}).json()["tasks"]
        return str(task["task_id"])

    async def hang_up() -> str:
        before = newest()
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            waiting = asyncio.create_task(client.post("/v1/video/t2v", json={**QUICK, "num_inference_steps": 100}))
            while (task_id := newest()) == before:  # noqa: ASYNC110  # the server sends no event
                await asyncio.sleep(0.05)
            waiting.cancel()
        return task_id

    assert server.wait(asyncio.run(hang_up()))["status"] == "completed"


def test_the_end_of_a_task_is_told_to_the_url_that_its_client_named(server: Server) -> None:
    with Receiver().serving() as receiver:
        task_id = server.submit(webhook_url=receiver.url())
        body = server.wait_until(task_id, lambda body: body["webhook"]["state"] != "pending")
        assert body["webhook"] == {"state": "delivered", "attempts": 1}
        (message,) = receiver.messages
    told = message.verified()
    assert told["type"] == "video.completed"
    assert server.client.head(told["data"]["url"]).status_code == 200


def test_a_part_of_a_file_comes_through_the_proxy(server: Server) -> None:
    url = server.wait(server.submit())["url"]
    whole = server.client.get(url)
    part = server.client.get(url, headers={"Range": "bytes=100-299"})
    assert part.status_code == 206
    assert part.content == whole.content[100:300]
    assert server.client.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_a_task_whose_image_is_lost_fails_in_words_and_the_next_one_runs(server: Server) -> None:
    ahead = server.submit(num_inference_steps=30)
    files = {"image": ("photo.jpg", _photo())}
    answer = server.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files=files)
    task_id = answer.json()["task_id"]
    (server.folder / "data/outputs/inputs" / task_id).unlink()
    body = server.wait(task_id)
    assert body["status"] == "failed"
    assert body["error_code"] == "render_failed"
    assert "input file" in body["error"]
    assert server.wait(ahead)["status"] == "completed"
    assert server.wait(server.submit())["status"] == "completed"


def test_tasks_start_in_the_order_of_their_arrival(server: Server) -> None:
    ids = [server.submit(num_inference_steps=2) for _ in range(6)]
    started = [server.wait(task_id)["started_at"] for task_id in ids]
    assert started == sorted(started)


def test_progress_never_falls_and_a_queued_task_knows_its_place(server: Server) -> None:
    ids = [server.submit(num_inference_steps=20) for _ in range(3)]
    assert server.poll(ids[2]).get("queue_position", 3) <= 3
    seen: list[float] = []
    server.wait_until(ids[0], lambda body: seen.append(body["progress"]) or body["status"] != "processing")
    assert seen == sorted(seen)
    for task_id in ids:
        server.wait(task_id)


def test_polls_stay_quick_while_the_model_renders(server: Server) -> None:
    task_id = server.submit(num_inference_steps=40, height=256, width=384)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.client.get(f"/v1/video/tasks/{task_id}").status_code, range(100)))
    assert set(answers) == {200}
    server.wait(task_id)


def test_an_idle_server_unloads_the_model_and_loads_it_again(server: Server) -> None:
    server.wait(server.submit())
    assert server.client.get("/health").json()["model"]["state"] == "ready"
    deadline = time.monotonic() + IDLE_UNLOAD_S + 60
    while server.client.get("/health").json()["model"]["state"] != "unloaded":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    while server.replicas("Generator"):
        assert time.monotonic() < deadline, "the Generator's process stays"
        time.sleep(0.5)
    assert server.wait(server.submit())["status"] == "completed"


def test_prometheus_finds_every_metric_with_its_labels(server: Server) -> None:
    seen: dict[str, set[str]] = {}
    values: dict[str, set[str]] = {}
    server.client.delete(f"/v1/video/tasks/{server.submit()}")
    server.client.get(server.wait(server.submit())["downloads"]["thumbnail"], timeout=60)
    assert server.client.post("/v1/video/enhance", json=QUICK).status_code == 503, "no language model answers"
    deadline = time.monotonic() + 120  # Ray exports values every 10 s
    while missing := {name for metric in ALL_METRICS for name in metric.series} - set(seen):
        assert time.monotonic() < deadline, missing
        server.wait(server.submit())
        for sample in our_samples(server):
            seen.setdefault(sample.name, set()).update(sample.labels)
            values.setdefault(sample.name, set()).update(sample.labels.values())
    for metric in ALL_METRICS:
        for name in metric.series:
            assert seen[name] >= {"application", "deployment", *(label.name for label in metric.labels)}, name
            assert not values[name] & set(server.submitted), "a task's id is no label"


def test_health_says_that_this_is_a_demo(server: Server) -> None:
    health = server.client.get("/health").json()
    assert any("demo model" in notice for notice in health["notices"])
    assert health["versions"]["ray"] == "2.60.0"

"""Processes are killed, the store goes away and sources are deleted while given audio and video are read or encoded."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.checks import PATIENCE_S, assert_nothing_lost, eventually
from tests.e2e.faulty_app import ENCODED_PROMPT, HELD_PROMPT, RELEASED
from tests.e2e.server import ROOT, Server
from tests.e2e.test_faults_outputs import S3, Bucket, misbehaving, own_bucket
from tests.ingress.media import audio_file, frames_of, video_file
from tests.s3 import CREDENTIALS, Handler

pytestmark = pytest.mark.timeout(900)
READER = "deployments.ingress.media.child"

AWAY_S = 4
"""Longer than all waits of one attempt to read: see S3."""
LONG_S = 4
"""Seconds of a video that takes longer to read than to find the process that reads it."""


@contextmanager
def stopping_reads(bucket: Bucket) -> Iterator[threading.Event]:
    """No input file can be read meanwhile. The event is set as soon as one should be."""
    asked = threading.Event()

    def stop(request: Handler) -> bool:
        if request.command != "GET" or f"/{bucket.name}/inputs/" not in request.path:
            return False
        asked.set()
        return request.say_nothing()

    with misbehaving(bucket, stop):
        yield asked


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with own_bucket() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the server's processes."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(bucket: Bucket, temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    s3 = {**S3, "read_timeout_s": 2, "endpoint_url": f"http://127.0.0.1:{bucket.port}"}
    args = {"outputs": {"url": f"s3://{bucket.name}", "s3": s3}}
    environment = {**CREDENTIALS, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    running = Server(tmp_path_factory.mktemp("given"), args, environment, "tests.e2e.faulty_app:build")
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def source(server: Server) -> str:
    """A task whose video the others are made from."""
    return completed(server)


def completed(server: Server) -> str:
    body = server.wait(server.submit(), PATIENCE_S)
    assert body["status"] == "completed", body
    return str(body["task_id"])


def give(server: Server, route: str, files: dict[str, bytes] | None = None, **fields: Any) -> str:
    """Submit a task with a given audio or video."""
    data = {"prompt": "A singer on a small stage.", "num_inference_steps": "3", **fields}
    answer = server.client.post(f"/v1/video/async_{route}", data=data, files=files or {"x": ("", b"")})
    assert answer.status_code == 200, answer.text
    server.submitted.append(str(answer.json()["task_id"]))
    return server.submitted[-1]


def long_video() -> bytes:
    return video_file(frames_of(LONG_S * 25, 640, 384))


def poll_until(server: Server, task_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Poll until the condition holds. Every answer must be a 200."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = server.client.get(f"/v1/video/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        body = dict(answer.json())
        if condition(body):
            return body
        assert time.monotonic() < deadline, body
        time.sleep(0.1)


def has_ended(body: dict[str, Any]) -> bool:
    return bool(body["status"] != "processing")


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def assert_completed(server: Server, bucket: Bucket, ids: list[str]) -> None:
    """All tasks are completed, and no input is kept."""
    for task_id in ids:
        poll_until(server, task_id, has_ended)
    bodies = assert_nothing_lost(server, ids, files=bucket.files)
    assert {body["status"] for body in bodies} == {"completed"}
    eventually(lambda: not bucket.names("inputs/"), f"inputs of ended tasks are kept: {bucket.names('inputs/')}")


def test_a_generator_that_is_killed_while_it_reads_or_encodes_what_was_given_loses_no_task(
    server: Server, bucket: Bucket, source: str
) -> None:
    with stopping_reads(bucket) as asked:
        read = give(server, "retake", source_task=source, start_time="0.2")
        assert asked.wait(PATIENCE_S)
        kill(server.replicas("FaultyGenerator"))
    encoded = give(server, "extend", source_task=source, duration="0.5", prompt=ENCODED_PROMPT)
    others = [
        give(server, "v2v", source_task=source),
        give(server, "a2v", {"audio": audio_file(0.6)}, width="128", height="64"),
    ]
    assert read in bucket.names("inputs/")
    lost = [f"task {task_id}: its replica was lost, attempt 1" for task_id in (read, encoded)]
    eventually(lambda: all(line in server.log() for line in lost), f"not in the log: {lost}")
    assert encoded in bucket.names("inputs/")
    assert_completed(server, bucket, [read, encoded, *others])


def test_a_store_that_is_away_while_inputs_are_read_fails_no_task(server: Server, bucket: Bucket, source: str) -> None:
    with stopping_reads(bucket) as asked:
        task_id = give(server, "retake", source_task=source)
        assert asked.wait(PATIENCE_S)
        bucket.go()
        time.sleep(AWAY_S)
        assert poll_until(server, task_id, lambda _body: True)["status"] == "processing"
        bucket.come()
    assert_completed(server, bucket, [task_id])


def test_a_source_that_is_deleted_while_its_task_waits_or_renders_is_needed_no_more(
    server: Server, bucket: Bucket, temporary: Path
) -> None:
    first, second = completed(server), completed(server)
    renders = give(server, "v2v", source_task=first, prompt=HELD_PROMPT)
    waits = give(server, "extend", source_task=second, duration="0.5")
    assert server.client.delete(f"/v1/video/tasks/{second}").status_code == 200
    body = poll_until(server, renders, lambda body: has_ended(body) or body.get("stage") == "denoising")
    assert body["status"] == "processing"
    assert server.client.delete(f"/v1/video/tasks/{first}").status_code == 200
    refused = server.client.post("/v1/video/async_retake", json={"prompt": "x", "source_task": first})
    assert refused.status_code in (404, 410), refused.text
    (temporary / RELEASED).touch()
    server.submitted = [each for each in server.submitted if each not in (first, second)]
    assert_completed(server, bucket, [renders, waits])


def test_a_reader_or_an_ingress_that_is_killed_leaves_nothing_and_the_next_upload_works(
    server: Server, bucket: Bucket, temporary: Path
) -> None:
    known, video = task_ids(server), long_video()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(upload, server, video)
        eventually(lambda: reading(temporary), "the video is not read")
        kill(server.processes_like(READER))
        said = answer.result(PATIENCE_S)
        assert (said.status_code, said.json()["retryable"]) == (503, True), said.text
        assert said.headers["retry-after"]
        assert (reading(temporary), bucket.names("inputs/"), task_ids(server)) == ([], set(), known)

        answer = pool.submit(upload, server, video)
        eventually(lambda: reading(temporary), "the video is not read")
        readers = server.processes_like(READER)
        kill(server.replicas("Ingress"))
        with suppress(httpx.HTTPError):
            assert answer.result(PATIENCE_S).status_code in (502, 503, 504)
    eventually(lambda: not any(is_alive(each) for each in readers), "a reader outlives its Ingress")
    task_id = eventually(lambda: repeated(server, video), "no upload works after the kill")
    assert (bucket.names("inputs/") - {task_id}, task_ids(server) - known) == (set(), {task_id})
    server.submitted.append(task_id)
    assert_completed(server, bucket, [task_id])
    eventually(lambda: not reading(temporary), f"{reading(temporary)} is left")


def reading(temporary: Path) -> list[Path]:
    """The files that processes write from uploads now, or that are left."""
    return list(temporary.rglob("written"))


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. What nobody waits for stays a zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def upload(server: Server, video: bytes) -> httpx.Response:
    fields = {"prompt": "A lighthouse.", "num_inference_steps": "2", "duration": "0.5"}
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        return client.post("/v1/video/async_retake", data=fields, files={"video": video})


def repeated(server: Server, video: bytes) -> str | None:
    """The id of the task, when the upload works."""
    with suppress(httpx.HTTPError):
        answer = upload(server, video)
        return str(answer.json()["task_id"]) if answer.status_code == 200 else None
    return None


def task_ids(server: Server) -> set[str]:
    answer = server.client.get("/v1/video/tasks", params={"limit": 100})
    assert answer.status_code == 200, answer.text
    return {each["task_id"] for each in answer.json()["tasks"]}

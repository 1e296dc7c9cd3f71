"""Promise: one owner uses at most its part of a replica's concurrency, and other owners are served meanwhile."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from deployments.ingress.concurrency.limits import current_owner
from deployments.ingress.concurrency.thread_pool import FairSlots, ThreadPool
from tests.ingress.conftest import Box, completing, image_file
from tests.ingress.keys import ALICE, BOB, KEYS, bearer, record

FEW = {"max_sync_requests": 4, "max_event_streams": 4, "max_uploads": 4, "max_ongoing_requests": 40}
"""One key may use a quarter of each limit."""
FORM = {"data": {"prompt": "waves"}, "files": {"image": ("a.png", image_file())}}


@pytest.fixture
def shared(served_box) -> Box:
    """A server that Alice and Bob share."""
    return served_box(api_keys=KEYS, ingress=FEW)


@contextlib.contextmanager
def unfinished(box: Box, number: int, path: str, content_type: str = "application/json") -> Iterator[None]:
    """Open this number of requests by Alice whose body never arrives."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: 1000\r\n\r\n"
    )
    address = (box.client.base_url.host, box.client.base_url.port)
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(address, timeout=30)).sendall(head.encode())
        yield


def ask_until(box: Box, key: str, ask: Callable[[dict[str, str]], httpx.Response], status: int) -> httpx.Response:
    """Repeat the request until it has this status: requests on other connections arrive a moment later."""
    deadline = time.monotonic() + 30
    while (answer := ask(bearer(key))).status_code != status and time.monotonic() < deadline:
        time.sleep(0.02)
    assert answer.status_code == status, answer.text
    return answer


def refused(answer: httpx.Response, code: str) -> None:
    body = answer.json()
    assert (body["error_code"], body["retryable"]) == (code, True)
    assert "alice" in body["error"]
    assert int(answer.headers["retry-after"]) > 0


def test_bodies_that_never_come_take_no_seat_of_those_who_wait(shared):
    ask = {"json": {"prompt": "waves"}}
    with completing(shared), unfinished(shared, 4, "/v1/video/t2v"):
        for key in (BOB, ALICE):
            answer = shared.client.post("/v1/video/t2v", **ask, headers=bearer(key))
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["/v1/video/async_i2v", "/v1/video/i2v", "/v1/videos", "/v1/video/estimate"])
def test_the_uploads_of_one_key_are_bounded_and_others_upload_meanwhile(shared, path):
    with unfinished(shared, 1, path, "multipart/form-data; boundary=x"):
        estimate = lambda headers: shared.client.post("/v1/video/estimate", **FORM, headers=headers)  # noqa: E731
        refused(ask_until(shared, ALICE, estimate, 429), "too_many_uploads")
        assert estimate(bearer(BOB)).status_code == 200
        assert shared.client.post("/v1/video/async_i2v", **FORM, headers=bearer(BOB)).status_code == 200
        text = {"json": {"prompt": "waves"}, "headers": bearer(ALICE)}
        assert shared.client.post("/v1/video/async_t2v", **text).status_code == 200


def test_the_synchronous_requests_of_one_key_are_bounded(shared):
    t2v = lambda headers: shared.client.post("/v1/video/t2v", json={"prompt": "x"}, headers=headers)  # noqa: E731
    with contextlib.ExitStack() as stack:
        waiting = threading.Thread(target=t2v, args=[bearer(ALICE)])
        waiting.start()
        while not shared.tasks.counts()["queued"]:
            pass
        for route in ("t2v", "i2v"):
            given = {"json": {"prompt": "x"}} if route == "t2v" else FORM
            answer = shared.client.post(f"/v1/video/{route}", **given, headers=bearer(ALICE))
            refused(answer, "too_many_waiting_requests")
        assert shared.tasks.counts()["queued"] == 1, "what is refused makes no task"
        stack.enter_context(completing(shared))
        assert t2v(bearer(BOB)).status_code == 200
        waiting.join()


def test_the_event_streams_of_one_key_are_bounded(shared):
    urls = {}
    for key in (ALICE, BOB):
        task = shared.client.post("/v1/video/async_t2v", json={"prompt": "x"}, headers=bearer(key)).json()
        urls[key] = f"/v1/video/tasks/{task['task_id']}/events"
    with shared.client.stream("GET", urls[ALICE], headers=bearer(ALICE)) as first:
        lines = first.iter_lines()  # kept: without this reference the connection closes
        next(lines)
        refused(shared.client.get(urls[ALICE], headers=bearer(ALICE)), "too_many_event_streams")
        with shared.client.stream("GET", urls[BOB], headers=bearer(BOB)) as other:
            assert other.status_code == 200


def test_the_open_requests_of_one_key_are_bounded_and_health_answers(shared):
    poll = lambda headers: shared.client.get("/v1/video/tasks", headers=headers)  # noqa: E731
    with unfinished(shared, 45, "/v1/video/estimate"):  # more than max_ongoing_requests
        refused(ask_until(shared, ALICE, poll, 429), "too_many_open_requests")
        assert poll(bearer(BOB)).status_code == 200
        assert shared.client.get("/health").status_code == 200
    ask_until(shared, ALICE, poll, 200)


def test_without_keys_nearly_all_places_may_be_taken_and_health_still_answers(served_box):
    box = served_box(ingress=FEW)
    poll = lambda headers: box.client.get("/v1/video/tasks", headers=headers)  # noqa: E731
    with unfinished(box, 35, "/v1/video/estimate"):
        assert poll({}).status_code == 200
        with contextlib.ExitStack() as more:

            def poll_beside_one_more(headers: dict[str, str]) -> httpx.Response:
                """A poll may hold the last place when the other request arrives, which is then refused: add another."""
                more.enter_context(unfinished(box, 1, "/v1/video/estimate"))
                return poll(headers)

            assert ask_until(box, ALICE, poll_beside_one_more, 429).json()["error_code"] == "too_many_requests"
            assert box.client.get("/health").status_code == 200


def test_one_key_alone_may_take_all_there_is(served_box):
    box = served_box(api_keys=[record("alice", ALICE), record("alice", BOB)], ingress=FEW)
    with unfinished(box, 3, "/v1/video/estimate", "multipart/form-data; boundary=x"):
        assert box.client.post("/v1/video/async_i2v", **FORM, headers=bearer(ALICE)).status_code == 200


@pytest.mark.parametrize(
    "bounds", [{"ingress": {"max_queued": 1}}, {"api_keys": [record("alice", ALICE, max_queued=1)]}]
)
def test_a_full_queue_refuses_before_an_image_is_decoded(open_box, bounds):
    """So an image that cannot be decoded is not examined either."""
    box = open_box(**bounds)
    box.client.headers.update(bearer(ALICE))
    box.submit()
    broken = {"data": {"prompt": "waves"}, "files": {"image": ("a.png", b"no image")}}
    answer = box.client.post("/v1/video/async_i2v", **broken)
    assert (answer.status_code, answer.json()["error_code"]) == (429, "queue_full"), answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_a_repeated_submit_is_found_before_its_image_is_decoded_also_in_a_full_queue(open_box):
    box = open_box(ingress={"max_queued": 1})
    key = {"Idempotency-Key": "once"}
    first = box.client.post("/v1/video/async_i2v", **FORM, headers=key)
    again = box.client.post("/v1/video/async_i2v", **FORM, headers=key)
    assert first.json()["task_id"] == again.json()["task_id"]
    other = {**FORM, "data": {"prompt": "another"}}
    assert box.client.post("/v1/video/async_i2v", **other, headers=key).json()["error_code"] == "idempotency_key_reused"


def test_owners_take_turns_at_the_threads() -> None:
    done: list[str] = []

    async def work(threads: ThreadPool, owner: str) -> None:
        current_owner.set(owner)
        await threads.run(done.append, owner)

    async def all_at_once() -> None:
        threads = ThreadPool("test", 1)
        await asyncio.gather(*(work(threads, owner) for owner in ["alice"] * 10 + ["bob"] * 2))

    asyncio.run(all_at_once())
    assert done[:4] == ["alice", "bob", "alice", "bob"]
    assert done[4:] == ["alice"] * 8


def test_one_owner_leaves_a_thread_for_others() -> None:
    async def take_all() -> list[bool]:
        turns = FairSlots(3, 2)
        asked = [asyncio.ensure_future(turns.acquire(owner)) for owner in ["alice"] * 4 + ["bob"]]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        came = [each.done() for each in asked]
        turns.release("alice")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        came.append(asked[2].done())
        asked[3].cancel()
        return came

    assert asyncio.run(take_all()) == [True, True, False, False, True, True]


def test_who_stops_waiting_keeps_no_turn() -> None:
    async def take_after_cancel() -> bool:
        turns = FairSlots(1, 1)
        await turns.acquire("alice")
        gone, patient = (asyncio.ensure_future(turns.acquire("alice")) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        turns.release("alice")
        await asyncio.wait_for(patient, 30)
        late = asyncio.ensure_future(turns.acquire("bob"))
        await asyncio.sleep(0)
        turns.release("alice")
        late.cancel()  # it has got its slot already, but has not been resumed
        await asyncio.wait([late])
        await asyncio.wait_for(turns.acquire("carol"), 30)
        return True

    assert asyncio.run(take_after_cancel())


def test_refusals_of_a_bound_have_the_shape_of_their_door(shared):
    with unfinished(shared, 1, "/v1/videos", "multipart/form-data; boundary=x"):
        create = lambda headers: shared.client.post("/v1/videos", **FORM, headers=headers)  # noqa: E731
        answer = ask_until(shared, ALICE, create, 429)
    assert answer.json()["error"]["code"] == "too_many_uploads", json.dumps(answer.json())

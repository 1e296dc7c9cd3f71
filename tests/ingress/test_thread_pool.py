"""Promise: blocking work runs in a bounded number of persistent threads, also without a running asyncio task."""

import asyncio
import inspect
import threading
from contextvars import ContextVar

import pytest
from fastapi.routing import iter_route_contexts

from deployments.ingress.concurrency.thread_pool import ThreadPool
from tests.ingress.conftest import Box

ASKED = ContextVar("asked", default="nobody")


async def in_turn(threads: ThreadPool, number: int) -> set[int]:
    return {await threads.run(threading.get_ident) for _ in range(number)}


def test_calls_one_after_the_other_share_their_thread_in_a_loop_like_a_replicas() -> None:
    """Ray runs the loop of a replica forever, and each request is a task of it."""
    loop, threads = asyncio.new_event_loop(), ThreadPool("test", 4)
    runner = threading.Thread(target=loop.run_forever)
    runner.start()
    used = [asyncio.run_coroutine_threadsafe(in_turn(threads, 5), loop).result(30) for _ in range(3)]
    loop.call_soon_threadsafe(loop.stop)
    runner.join()
    loop.close()
    assert len(set.union(*used)) <= 4


def test_no_more_work_is_done_at_once_than_there_are_threads() -> None:
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(30)
        with lock:
            running -= 1

    async def all_at_once() -> None:
        threads = ThreadPool("test", 2)
        await asyncio.gather(*(threads.run(work) for _ in range(6)))

    asyncio.run(all_at_once())
    assert most == 2


def test_work_sees_the_callers_context_and_its_errors_reach_the_caller() -> None:
    async def ask() -> str:
        ASKED.set("alice")
        with pytest.raises(ZeroDivisionError):
            await ThreadPool("test", 1).run(lambda: 1 // 0)
        return await ThreadPool("test", 1).run(ASKED.get)

    assert asyncio.run(ask()) == "alice"


def test_no_route_waits_for_a_thread_that_is_started_for_it(box: Box) -> None:
    """FastAPI would run a plain function in such a thread."""
    endpoints = {each.path: each.endpoint for each in iter_route_contexts(box.client.app.routes)}
    assert {"/v1/video/tasks", "/v1/videos/{video_id}", "/skill.md", "/"} <= set(endpoints)
    assert [path for path, endpoint in endpoints.items() if not inspect.iscoroutinefunction(endpoint)] == []

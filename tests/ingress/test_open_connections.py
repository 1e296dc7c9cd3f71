"""Promise: 200 event streams, 50 synchronous requests and slow downloads at once are all served, and so are polls."""

import asyncio

import httpx

from tests.ingress.conftest import completing

STREAMS, WAITING, READERS = 200, 50, 40
VIDEO = bytes(range(256)) * 32_000
"""More than a socket buffers, so that a client that does not read keeps its download open."""


class Crowd:
    """Clients of one server, each on its own connection."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._opened = asyncio.Semaphore(0)
        self._go_on = asyncio.Event()

    async def follow(self, task_id: str) -> str:
        """Follow the task's events. Returns the name of the last one."""
        name = ""
        async with self._client.stream("GET", f"/v1/video/tasks/{task_id}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                    self._opened.release()
        return name

    async def wait(self) -> str:
        """Send a synchronous request. Returns the status of its video."""
        answer = await self._client.post("/v1/video/t2v", json={"prompt": "waves"})
        return str(answer.json()["status"])

    async def read_slowly(self, url: str) -> int:
        """Start a download, but read it only when all other connections are open. Returns its size in bytes."""
        async with self._client.stream("GET", url) as stream:
            self._opened.release()
            await self._go_on.wait()
            return sum([len(part) async for part in stream.aiter_bytes()])

    async def all_open(self, number: int) -> None:
        for _ in range(number):
            await self._opened.acquire()

    async def ask(self, task_id: str) -> set[int]:
        paths = [f"/v1/video/tasks/{task_id}", "/health"] * 10
        return {(await self._client.get(path)).status_code for path in paths}

    def go_on(self) -> None:
        self._go_on.set()


async def queued(client: httpx.AsyncClient, number: int) -> None:
    """Wait until this number of tasks is queued."""
    while (await client.get("/health")).json()["queue"]["queued"] < number:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def serve_all(box, done: str, followed: list[str]) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=str(box.client.base_url), limits=limits, timeout=200) as client:
        crowd = Crowd(client)
        streams = [asyncio.create_task(crowd.follow(task_id)) for task_id in followed]
        waiting = [asyncio.create_task(crowd.wait()) for _ in range(WAITING)]
        readers = [asyncio.create_task(crowd.read_slowly(f"/outputs/ltx2_{done}.mp4")) for _ in range(READERS)]
        await crowd.all_open(STREAMS + READERS)
        await queued(client, STREAMS + WAITING)
        assert await crowd.ask(done) == {200}
        crowd.go_on()
        with completing(box):
            assert set(await asyncio.gather(*streams, *waiting)) == {"completed"}
        assert set(await asyncio.gather(*readers)) == {len(VIDEO)}


def test_all_of_a_crowd_are_served_and_who_only_asks_beside_them(served_box):
    box = served_box()
    done = box.finished(VIDEO)
    asyncio.run(serve_all(box, done, [box.submit() for _ in range(STREAMS)]))

"""Whether many open connections slow down short requests: polls and /health beside a crowd of other clients.

    python -m benchmarks.open_connections [--rounds 3] [--requests 150] [--streams 200] [--waiting 50] [--readers 200]

The same server is measured in three situations, alternately:
- alone;
- with `streams` event streams and `waiting` synchronous requests open, none of which ends;
- with `readers` downloads of a 20 MB file that read 16 KB every half second.

Each measurement sends `requests` requests on one connection. The memory is the Ingress's. The crowd and the measuring
client are separate processes.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.memory import megabytes
from benchmarks.requests import drive, percentile
from benchmarks.seed_rows import fill, task_id
from benchmarks.servers import IDLE, SPAWN
from storage.outputs.store import output_key
from storage.tasks import State
from tests.e2e.server import QUICK, Server, running_server

FILE_BYTES = 20_000_000
SIP_BYTES = 16_384
SIP_EVERY_S = 0.5
TOGETHER_S = 120


def gather(port: int, asked: list[bytes], sip: bool, together: Barrier) -> None:
    """Hold one connection open for each request until the barrier ends it. Runs in the crowd's process."""
    asyncio.run(_gather(port, asked, sip, together))


async def _gather(port: int, asked: list[bytes], sip: bool, together: Barrier) -> None:
    streams = [await asyncio.open_connection("127.0.0.1", port, limit=SIP_BYTES) for _ in asked]
    for (_, writer), content in zip(streams, asked, strict=True):
        writer.write(content)
    drinking = asyncio.gather(*(_drink(reader, sip) for reader, _ in streams))
    await asyncio.sleep(2)
    await asyncio.to_thread(together.wait, TOGETHER_S)
    await asyncio.to_thread(together.wait, TOGETHER_S)
    drinking.cancel()
    with suppress(asyncio.CancelledError):
        await drinking
    for _, writer in streams:
        writer.close()


async def _drink(reader: asyncio.StreamReader, sip: bool) -> None:
    while content := await reader.read(SIP_BYTES):
        if b" 429 " in content[:20] or b" 503 " in content[:20]:
            raise RuntimeError(content.decode(errors="replace"))
        if sip:
            await asyncio.sleep(SIP_EVERY_S)


@contextmanager
def crowd(port: int, asked: list[bytes], *, sip: bool) -> Iterator[None]:
    """Run a process that holds these requests open."""
    together = SPAWN.Barrier(2)
    process = SPAWN.Process(target=gather, args=(port, asked, sip, together), daemon=True)
    process.start()
    try:
        together.wait(TOGETHER_S)
        yield
        together.wait(TOGETHER_S)
        process.join(30)
    finally:
        process.kill()
        process.join()


def get(path: str) -> bytes:
    """A GET request for `path`."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def synchronous() -> bytes:
    """A request that waits for its video."""
    fields = json.dumps(QUICK).encode()
    head = b"POST /v1/video/t2v HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(fields), fields)


def measure(server: Server, asked: argparse.Namespace) -> None:
    """Alternate between the situations, and print the medians beside those of `alone`. The first round is a warm-up."""
    streams = [get(f"/v1/video/tasks/{task_id(2 + each)}/events") for each in range(asked.streams)]
    waiting = [synchronous() for _ in range(asked.waiting)]
    readers = [get(f"/{output_key(task_id(1))}") for _ in range(asked.readers)]
    crowds: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "alone": lambda: crowd(server.port, [], sip=False),
        "streams and waiting": lambda: crowd(server.port, [*streams, *waiting], sip=False),
        "slow readers": lambda: crowd(server.port, readers, sip=True),
    }
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as client:
        for turn in range(asked.rounds + 1):
            for name, make in crowds.items():
                with make():
                    for what in ("poll", "health"):
                        seconds = client.submit(drive, server.port, what, 1, asked.requests, 1).result()
                        if turn:
                            found[name, what].append((percentile(seconds, 50), percentile(seconds, 99)))
                    memory[name].append(megabytes(server.replicas("Ingress"))["Ingress"][1])
                time.sleep(1)
    show(found, memory)


def show(found: dict[tuple[str, str], list[tuple[float, float]]], memory: dict[str, list[float]]) -> None:
    """Print the medians over the rounds."""
    print(f"{'crowd':<20} {'asked':<7} {'p50 ms':>8} {'p99 ms':>8} {'p50 ratio':>10} {'Ingress MB':>11}")
    for (name, what), rows in found.items():
        p50, p99 = (statistics.median(column) for column in zip(*rows, strict=True))
        alone = statistics.median(row[0] for row in found["alone", what])
        size = max(memory[name])
        print(f"{name:<20} {what:<7} {p50 * 1000:8.2f} {p99 * 1000:8.2f} {p50 / alone:10.2f} {size:11.0f}", flush=True)


def main() -> None:
    """Start the server, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 3, "requests": 150, "streams": 200, "waiting": 50, "readers": 200}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/ltx2.db"
        fill(url, {State.COMPLETED: 1, State.QUEUED: asked.streams})
        file = folder / output_key(task_id(1))
        file.parent.mkdir()
        file.write_bytes(os.urandom(FILE_BYTES))
        with running_server(folder, {**IDLE, "database_url": url, "outputs": {"url": f"file:{folder}"}}) as server:
            print(f"{asked}, {os.cpu_count()} cores")
            measure(server, asked)


if __name__ == "__main__":
    main()

"""The server's overhead: a task on the warm server, compared with the same render and encode in one process.

    python -m benchmarks.overhead [--rounds 7] [--height 256] [--width 384] [--frames 25] [--steps 4]

The two alternate with the same request on the tiny model, and the medians are compared. `server` is measured by a
client that submits and polls every 20 ms until the task is completed. `direct` is `Ltx2Model.render` and `write_mp4`,
without anything else.

The parts come from the times in the task and from the first poll that shows each stage, so their precision is about 30
ms. The server also writes a poster, and flushes both files to the disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from deployments.encoder.mp4 import write_mp4
from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.progress import Progress
from models.request.request import RequestLimits, VideoRequest, parse_request
from tests.e2e.server import Server, running_server

POLL_INTERVAL_S = 0.02
MAX_BYTES = 16_000_000
AIM_S = 0.15
PARTS = ("queue", "render", "encode", "notice", "total")

Seconds = dict[str, float]


def through_server(server: Server, request: VideoRequest) -> Seconds:
    """Submit, and poll until the task has ended. Returns the seconds of each part, by the client's clock."""
    start = time.time()
    task_id = server.submit(**request.model_dump(mode="json"))
    rendered_at = 0.0
    while (body := server.poll(task_id))["status"] == "processing":
        if body.get("stage") == "encoding" and not rendered_at:
            rendered_at = time.time()
        time.sleep(POLL_INTERVAL_S)
    end = time.time()
    if body["status"] != "completed":
        raise RuntimeError(f"the task failed: {body}")
    rendered_at = rendered_at or body["finished_at"]
    return {
        "queue": body["started_at"] - start,
        "render": rendered_at - body["started_at"],
        "encode": body["finished_at"] - rendered_at,
        "notice": end - body["finished_at"],
        "total": end - start,
    }


def direct(model: Ltx2Model, request: VideoRequest, path: Path) -> Seconds:
    """The same work in this process."""
    start = time.perf_counter()
    clip = model.render(request, NO_CONDITIONS, ignore)
    rendered_at = time.perf_counter()
    write_mp4(clip, path, max_bytes=MAX_BYTES, metadata={})
    end = time.perf_counter()
    return {"queue": 0, "render": rendered_at - start, "encode": end - rendered_at, "notice": 0, "total": end - start}


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def measure(
    server: Server, model: Ltx2Model, request: VideoRequest, rounds: int
) -> tuple[list[Seconds], list[Seconds]]:
    """Run the two alternately. The first round is a warm-up."""
    through, alone = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            one = through_server(server, request)
            other = direct(model, request, Path(folder) / "video.mp4")
            if turn:
                through.append(one)
                alone.append(other)
    return through, alone


def medians(rounds: list[Seconds]) -> Seconds:
    """The median of each part."""
    by_part = defaultdict(list)
    for seconds in rounds:
        for part, value in seconds.items():
            by_part[part].append(value)
    return {part: statistics.median(values) for part, values in by_part.items()}


def show(through: list[Seconds], alone: list[Seconds]) -> None:
    """Print the table and the ratio."""
    server, floor = medians(through), medians(alone)
    print(f"{'part':<8} {'server ms':>10} {'direct ms':>10} {'difference':>11}")
    for part in PARTS:
        more = server[part] - floor[part]
        print(f"{part:<8} {server[part] * 1000:10.0f} {floor[part] * 1000:10.0f} {more * 1000:11.0f}")
    more = server["total"] - floor["total"]
    paired = statistics.median(one["total"] - other["total"] for one, other in zip(through, alone, strict=True))
    print(
        f"server / direct: {server['total'] / floor['total']:.2f}; {more * 1000:.0f} ms more by the medians, "
        f"{paired * 1000:.0f} ms by the median of the pairs (aim: at most {AIM_S * 1000:.0f})"
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 7, "height": 256, "width": 384, "frames": 25, "steps": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    size = {"height": asked.height, "width": asked.width, "num_frames": asked.frames}
    fields = {"prompt": "A lighthouse in the fog.", "seed": 7, "num_inference_steps": asked.steps, **size}
    request = parse_request(fields, RequestLimits())
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        model = Ltx2Model.load("tiny", "cpu", cache, ignore)
        with running_server(Path(folder), {"model": "tiny", "device": "cpu", "cache_dir": str(cache)}) as server:
            print(
                f"{asked.width}x{asked.height}, {asked.frames} frames, {asked.steps} steps, "
                f"{os.cpu_count()} cores, {asked.rounds} rounds"
            )
            show(*measure(server, model, request, asked.rounds))


if __name__ == "__main__":
    main()

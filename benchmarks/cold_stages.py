"""Time to the first step when no Generator is running, by part, compared with a bare process.

    python -m benchmarks.cold_stages [--rounds 3] [--height 256] [--width 384] [--frames 25]

- `server`: a task on a server with zero Generators, from the submit to the end of the first denoising step. The task
  is then canceled, and the Generator unloads before the next round.
- `bare`: a Python process that starts, imports, loads the tiny model and runs the same first step. It is the baseline.

The two alternate, and the medians are compared. The server's times come from a Generator that logs them
(`benchmarks.cold_stages_server`). The files of the model and of Python are in the page cache: the first round is a
warm-up.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models.ltx2.model import Ltx2Model
from models.progress import Progress
from models.request.request import RequestLimits, VideoRequest, parse_request
from storage.task_store import SqlTaskStore
from tests.e2e.server import ROOT, TASK_TIMEOUT_S, Server

AIM_S = 12.0
POLL_INTERVAL_S = 0.2
STEPS = 4
SERVER_PARTS = {
    "asked": "Serve decides and starts the replica",
    "constructed": "constructor",
    "called": "the call arrives, the row says started",
    "imported": "imports: torch, diffusers, transformers",
    "loaded": "load",
    "stepped": "text encoding and first step",
}
"""The parts in order. The key is the note that ends the part."""
FLOOR_PARTS = {
    "started": "the process starts",
    "imported": "imports: torch, diffusers, transformers",
    "loaded": "load",
    "stepped": "text encoding and first step",
}
NOTE = re.compile(r"NOTE (\w+) ([\d.]+)")

Times = dict[str, float]


def through_server(server: Server, store: SqlTaskStore, request: VideoRequest) -> Times:
    """Submit, wait for the first step, cancel, and wait until no Generator runs. Returns the end time of each part."""
    seen = len(NOTE.findall(server.log()))
    times = {"submitted": time.time()}
    task_id = server.submit(**request.model_dump(mode="json"))
    deadline = time.monotonic() + TASK_TIMEOUT_S
    while "stepped" not in times:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no first step; {server.log()[-3000:]}")
        time.sleep(POLL_INTERVAL_S)
        for name, at in NOTE.findall(server.log())[seen:]:
            times.setdefault(name, float(at))
    store.cancel(task_id)
    while server.client.get("/health").json()["model"]["replicas"]:
        time.sleep(POLL_INTERVAL_S)
    return times


def bare(cache: Path, request: VideoRequest) -> Times:
    """The baseline: the end time of each part."""
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.cold_stages_baseline", str(cache), request.model_dump_json()]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {"submitted": started, **json.loads(output.splitlines()[-1])}


def parts(times: Times, names: dict[str, str]) -> dict[str, float]:
    """The seconds of each part, and of all."""
    seconds, before = {}, times["submitted"]
    for note, name in names.items():
        seconds[name] = times[note] - before
        before = times[note]
    return {**seconds, "all": before - times["submitted"]}


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each part."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def show(server: dict[str, float], floor: dict[str, float]) -> None:
    """Print the table, and the ratio."""
    print(f"{'part':<42} {'server s':>9} {'bare s':>8}")
    for name in list(dict.fromkeys(["the process starts", *server])):
        columns = [f"{column[name]:.2f}" if name in column else "" for column in (server, floor)]
        print(f"{name:<42} {columns[0]:>9} {columns[1]:>8}")
    imports = server["imports: torch, diffusers, transformers"] / server["all"]
    print(
        f"server / bare: {server['all'] / floor['all']:.2f}; {server['all']:.1f} s (aim: under {AIM_S:g}), "
        f"{imports:.0%} of it imports"
    )


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def measure(folder: Path, request: VideoRequest, rounds: int) -> None:
    """Run the two alternately, and print."""
    cache = folder / "cache"
    Ltx2Model.load("tiny", "cpu", cache, ignore).close()
    database_url = f"sqlite:///{folder}/ltx2.db"
    args = {
        "model": "tiny",
        "device": "cpu",
        "cache_dir": str(cache),
        "database_url": database_url,
        "generator": {"downscale_to_zero_delay_s": 1},
    }
    server = Server(folder, args, {"PYTHONPATH": str(ROOT)}, "benchmarks.cold_stages_server:build")
    try:
        server.start()
        store = SqlTaskStore.open(database_url)
        through, alone = [], []
        for turn in range(rounds + 1):
            one = parts(through_server(server, store, request), SERVER_PARTS)
            other = parts(bare(cache, request), FLOOR_PARTS)
            if turn:
                through.append(one)
                alone.append(other)
        store.close()
        show(medians(through), medians(alone))
    finally:
        server.close()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 3, "height": 256, "width": 384, "frames": 25}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    size = {"height": asked.height, "width": asked.width, "num_frames": asked.frames}
    fields = {"prompt": "A lighthouse in the fog.", "seed": 7, "num_inference_steps": STEPS, **size}
    print(f"{asked.width}x{asked.height}, {asked.frames} frames, {os.cpu_count()} cores, {asked.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), parse_request(fields, RequestLimits()), asked.rounds)


if __name__ == "__main__":
    main()

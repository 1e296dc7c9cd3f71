"""Time from the submit to the first denoising step with zero replicas, by part, compared with a bare process.

    python -m benchmarks.cold [--rounds 3]

The bare process is the baseline: it starts Python, imports, loads the tiny model and runs one step, without a server.
The last Generator's own timeline is printed too, from the log. `benchmarks.cold_baseline` has the baseline for real
weights: bytes divided by the bandwidth of the disk and of the bus.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.server import QUICK, Server, running_server

IDLE_UNLOAD_S = 2
POLL_S = 0.02
TIMELINE = re.compile(r"cold start: [a-z_0-9., -]+")
BARE = """
import sys, time
from pathlib import Path
from models.conditions import NO_CONDITIONS
from models.startup.warm_up import import_pipelines
import_pipelines("cpu")
from models.ltx2.model import Ltx2Model
from models.request.request import RequestLimits, parse_request
from models.progress import Stage
class FirstStep(Exception): pass
def report(progress):
    if progress.stage is Stage.DENOISING and progress.step == 1:
        raise FirstStep
model = Ltx2Model.load("tiny", "cpu", Path(sys.argv[1]), report)
try:
    model.render(parse_request(eval(sys.argv[2]), RequestLimits()), NO_CONDITIONS, report)
except Exception as error:
    assert "FirstStep" in repr(error), error
"""


def cold_task(server: Server) -> dict[str, float]:
    """Run one task from zero replicas. Returns the seconds of each part, as a client sees them."""
    while server.replicas("Generator"):
        time.sleep(0.2)
    begun = time.monotonic()
    task_id = server.submit(num_inference_steps=40)
    seen: dict[str, float] = {}
    while "first step" not in seen:
        body = server.poll(task_id)
        now = time.monotonic() - begun
        if body["state"] == "processing":
            seen.setdefault("started", now)
        if body.get("stage") == "denoising":
            seen.setdefault("denoising", now)
        if body.get("stage") == "denoising" and body["step"] >= 1:
            seen["first step"] = now
        time.sleep(POLL_S)
    server.wait(task_id)
    return {
        "submit -> replica takes the task": seen["started"],
        "imports and load": seen["denoising"] - seen["started"],
        "text and first step": seen["first step"] - seen["denoising"],
        "whole": seen["first step"],
    }


def bare_process(cache: Path) -> float:
    """Seconds from the start of a bare process to its first step."""
    begun = time.monotonic()
    request = repr({**QUICK, "num_inference_steps": 40})
    subprocess.run([sys.executable, "-c", BARE, str(cache), request], check=True)
    return time.monotonic() - begun


def main() -> None:
    """Alternate the two, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    colds, bares = [], []
    with tempfile.TemporaryDirectory() as folder:
        args = {"generator": {"downscale_to_zero_delay_s": IDLE_UNLOAD_S}}
        with running_server(Path(folder), args) as server:
            server.wait(server.submit())  # builds the tiny model
            for _ in range(rounds):
                colds.append(cold_task(server))
                bares.append(bare_process(Path(folder) / "data/cache"))
            lines = TIMELINE.findall(server.log())
    for part in colds[0]:
        print(f"{part:<36}{statistics.median(each[part] for each in colds):8.2f} s")
    bare = statistics.median(bares)
    whole = statistics.median(each["whole"] for each in colds)
    print(f"{'bare process, to its first step':<36}{bare:8.2f} s")
    print(f"{'server / bare process':<36}{whole / bare:8.2f}")
    print(*lines[-1:], sep="\n")


if __name__ == "__main__":
    main()

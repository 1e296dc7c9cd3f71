"""What a render on the processor saves when the process keeps the memory of freed tensors, in one run.

    python -m benchmarks.freed_memory [--model demo] [--rounds 3] [--threads 2]
        [--height 512] [--width 768] [--frames 121] [--steps 8]

In each round a process with and a process without `KEEP_FREED_MEMORY` load the model and render twice in a thread, as
a Generator does. The table has the median seconds of the second render, their ratio, and the highest resident memory.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.render_options import add_render_options, make_request
from models.startup.freed_memory import KEEP_FREED_MEMORY

CHILD = "--child"
BYTES_PER_KB = 1024
"""ru_maxrss is in KB on Linux."""
VARIANTS: Mapping[str, Mapping[str, str]] = {"as glibc does": {}, "kept": KEEP_FREED_MEMORY}


def render_twice(given: argparse.Namespace) -> float:
    """Load the model, render twice in a thread, and return the seconds of the second render."""
    import torch

    from benchmarks.memory_leak import ignore
    from models.conditions import NO_CONDITIONS
    from models.ltx2.model import Ltx2Model

    torch.set_num_threads(given.threads)
    request = make_request(given)
    seconds: list[float] = []

    def render() -> None:
        for _ in range(2):
            started = time.monotonic()
            model.render(request, NO_CONDITIONS, ignore)
            seconds.append(time.monotonic() - started)

    with tempfile.TemporaryDirectory() as cache:
        model = Ltx2Model.load(given.model, "cpu", Path(cache), ignore)
        thread = threading.Thread(target=render)
        thread.start()
        thread.join()
    return seconds[1]


def measure(variables: Mapping[str, str], options: list[str]) -> tuple[float, float]:
    """Seconds of a render and the highest resident memory in MB, of a process of its own with these variables."""
    environment = {name: value for name, value in os.environ.items() if name not in KEEP_FREED_MEMORY}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.freed_memory", CHILD, *options],
        env={**environment, **variables},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def main() -> None:
    """Measure both in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_render_options(parser, height=512, width=768, frames=121, steps=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(CHILD, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        seconds = render_twice(given)
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB / 1e6)
        return
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(given.rounds):
        for name, variables in VARIANTS.items():
            rows[name].append(measure(variables, sys.argv[1:]))
    first = None
    print(f"{'freed memory':<14} {'s':>8} {'ratio':>8} {'MB':>8}")
    for name, runs in rows.items():
        seconds = statistics.median(seconds for seconds, _ in runs)
        first = first or seconds
        print(f"{name:<14} {seconds:8.2f} {seconds / first:8.3f} {max(megabytes for _, megabytes in runs):8.0f}")


if __name__ == "__main__":
    main()

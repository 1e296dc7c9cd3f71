"""Renders on the processor in a process of its own, which starts with given variables. Two benchmarks use it.

    python -m benchmarks.render_process [--model demo] [--threads 2] [--renders 1]
        [--height 256] [--width 384] [--frames 25] [--steps 8]

Loads the model and renders in a thread, as a Generator does. The first render is not timed. Prints the median seconds
of the others and the highest resident memory in MB.
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
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks.render_options import add_render_options, make_request
from models.startup.openmp import set_waiting

BYTES_PER_KB = 1024
"""ru_maxrss is in KB on Linux."""


def add_process_options(
    parser: argparse.ArgumentParser, *, height: int, width: int, frames: int, steps: int, renders: int = 1
) -> None:
    """Add the options of a render with these defaults, and the number of timed renders of a process."""
    add_render_options(parser, height=height, width=width, frames=frames, steps=steps)
    parser.add_argument("--renders", type=int, default=renders, help="timed renders of a process")


def measure(given: argparse.Namespace, variables: Mapping[str, str], known: Collection[str]) -> tuple[float, float]:
    """Median seconds of a render and the highest resident memory in MB of a process that starts with `variables`.

    Of this process's own variables it gets all but `known`.
    """
    environment = {name: value for name, value in os.environ.items() if name not in known}
    names = ("model", "threads", "renders", "height", "width", "frames", "steps")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.render_process", *(f"--{name}={getattr(given, name)}" for name in names)],
        env={**environment, **variables},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def time_renders(given: argparse.Namespace) -> list[float]:
    """Seconds of each render after the first."""
    set_waiting()
    import torch

    from benchmarks.memory_leak import ignore
    from models.conditions import NO_CONDITIONS
    from models.ltx2.model import Ltx2Model

    torch.set_num_threads(given.threads)
    request = make_request(given)
    seconds: list[float] = []

    def render(cache: str) -> None:
        model = Ltx2Model.load(given.model, "cpu", Path(cache), ignore)
        for _ in range(1 + given.renders):
            started = time.monotonic()
            model.render(request, NO_CONDITIONS, ignore)
            seconds.append(time.monotonic() - started)

    with tempfile.TemporaryDirectory() as cache:
        thread = threading.Thread(target=render, args=(cache,))
        thread.start()
        thread.join()
    return seconds[1:]


def main() -> None:
    """Render and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_process_options(parser, height=256, width=384, frames=25, steps=8)
    seconds = time_renders(parser.parse_args())
    print(statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB / 1e6)


if __name__ == "__main__":
    main()

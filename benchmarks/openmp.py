"""What the wait of torch's CPU threads for each other costs a render, alone and beside other work, in one run.

    python -m benchmarks.openmp [--busy 0 1 2] [--model demo] [--rounds 3] [--threads 2] [--renders 5]
        [--height 256] [--width 384] [--frames 25] [--steps 8]

In each round each way to wait renders beside `--busy` other processes that compute without a pause. The table has the
median seconds of a render and their ratio to threads that sleep at once.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.render_process import add_process_options, measure
from models.startup.openmp import WAITING

SLEEP_AT_ONCE = "sleep at once"
WAYS: Mapping[str, Mapping[str, str]] = {
    SLEEP_AT_ONCE: {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "as served": WAITING,
    "spin ten times as long": {**WAITING, "GOMP_SPINCOUNT": str(10 * int(WAITING["GOMP_SPINCOUNT"]))},
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
}


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run `count` processes that compute without a pause."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Measure all ways in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_process_options(parser, height=256, width=384, frames=25, steps=8, renders=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    print(f"{'busy processes':<16}{'threads that wait':<24}{'s':>8}{'ratio':>8}")
    for busy in given.busy:
        rows: dict[str, list[float]] = {way: [] for way in WAYS}
        with busy_processes(busy):
            for _ in range(given.rounds):
                for way, variables in WAYS.items():
                    rows[way].append(measure(given, variables, WAITING)[0])
        slept = statistics.median(rows[SLEEP_AT_ONCE])
        for way, seconds in rows.items():
            median = statistics.median(seconds)
            print(f"{busy:<16}{way:<24}{median:8.2f}{median / slept:8.2f}", flush=True)


if __name__ == "__main__":
    main()

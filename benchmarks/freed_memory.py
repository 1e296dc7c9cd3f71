"""What a render on the processor saves when the process keeps the memory of freed tensors, in one run.

    python -m benchmarks.freed_memory [--model demo] [--rounds 3] [--threads 2]
        [--height 512] [--width 768] [--frames 121] [--steps 8]

In each round a process with and a process without `KEEP_FREED_MEMORY` render. The table has the median seconds of a
render, their ratio, and the highest resident memory.
"""

import argparse
import statistics
from collections.abc import Mapping

from benchmarks.render_process import add_process_options, measure
from models.startup.freed_memory import KEEP_FREED_MEMORY

VARIANTS: Mapping[str, Mapping[str, str]] = {"as glibc does": {}, "kept": KEEP_FREED_MEMORY}


def main() -> None:
    """Measure both in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_process_options(parser, height=512, width=768, frames=121, steps=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(given.rounds):
        for name, variables in VARIANTS.items():
            rows[name].append(measure(given, variables, KEEP_FREED_MEMORY))
    first = None
    print(f"{'freed memory':<14} {'s':>8} {'ratio':>8} {'MB':>8}")
    for name, runs in rows.items():
        seconds = statistics.median(seconds for seconds, _ in runs)
        first = first or seconds
        print(f"{name:<14} {seconds:8.2f} {seconds / first:8.3f} {max(megabytes for _, megabytes in runs):8.0f}")


if __name__ == "__main__":
    main()

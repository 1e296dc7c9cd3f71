"""What each optimization saves of a whole render on the processor, against a render without any, in one run.

    python -m benchmarks.optimizations [--model demo] [--rounds 5] [--threads 2]
        [--height 256] [--width 384] [--frames 25] [--steps 20]

One model is loaded for each row, and their renders alternate after a warm-up of each. The table has the median seconds
of the process's own processor time, the ratio to the first row, and how far a frame's values (0 to 255) differ from
that row's at most. `auto` is what the server uses. `python -m benchmarks.gpu` has the figures of a GPU.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.memory_leak import ignore
from benchmarks.render_options import add_render_options, make_request
from models.clip import Clip
from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.optimizations.selection import ALWAYS_FASTER, AUTO, OFF, Optimization
from models.request.request import VideoRequest


@dataclass(frozen=True)
class Row:
    """Median processor seconds of a render, and its frames' largest difference from those without optimizations."""

    seconds: float
    difference: float


def compare(models: Mapping[str, Ltx2Model], request: VideoRequest, rounds: int) -> dict[str, Row]:
    """Measure `rounds` renders of each model after a warm-up. Differences are those to the first model."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    clips: dict[str, Clip] = {}
    for _ in range(rounds + 1):
        for name, model in models.items():
            started = time.process_time()
            clips[name] = model.render(request, NO_CONDITIONS, ignore)
            seconds[name].append(time.process_time() - started)
    first = next(iter(clips.values())).frames.astype(np.int16)
    return {
        name: Row(statistics.median(seconds[name][1:]), float(np.abs(clip.frames - first).max()))
        for name, clip in clips.items()
    }


def load_each(model: str, cache: Path, settings: Sequence[str]) -> dict[str, Ltx2Model]:
    """The model with each setting of `generator.optimizations`: off, auto, or one optimization."""

    def load(setting: str) -> Ltx2Model:
        options = LoadOptions(optimizations=(setting,) if isinstance(setting, Optimization) else setting)
        return Ltx2Model.load(model, "cpu", cache, ignore, options)

    return {setting: load(setting) for setting in settings}


def main() -> None:
    """Load the models, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_render_options(parser, height=256, width=384, frames=25, steps=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    request = make_request(given)
    with tempfile.TemporaryDirectory() as cache:
        rows = compare(load_each(given.model, Path(cache), (OFF, AUTO, *ALWAYS_FASTER)), request, given.rounds)
    print(f"{'optimizations':<20} {'s':>8} {'ratio':>8} {'difference':>11}")
    for name, row in rows.items():
        print(f"{name:<20} {row.seconds:8.2f} {row.seconds / rows[OFF].seconds:8.3f} {row.difference:11g}")


if __name__ == "__main__":
    main()

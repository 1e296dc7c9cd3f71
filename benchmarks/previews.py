"""What previews take from a render: the same tasks with and without them, in one run.

    python -m benchmarks.previews [--model tiny] [--device cpu] [--rounds 5] [--max-fraction 0.02]
        [--height 512] [--width 768] [--frames 121] [--steps 40]

Renders with and without previews alternate, after a warm-up of each. The table has the medians, their ratio, the number
of previews, and which part of the render they took by their own measurement. The frames of both must be equal.
`--max-fraction 1` makes all previews, which shows the price of one. Figures of the tiny model say nothing about LTX-2:
its steps are cheaper than its decoder.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.memory_leak import ignore
from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.preview import MAX_FRACTION, Preview, PreviewOptions
from models.request.request import VideoRequest


@dataclass(frozen=True)
class Run:
    """One render: its frames, its seconds, and its previews."""

    frames: npt.NDArray[np.uint8]
    seconds: float
    previews: tuple[Preview, ...] = ()

    @property
    def preview_s(self) -> float:
        """What the previews took by their own measurement."""
        return sum(each.seconds for each in self.previews)


@dataclass(frozen=True)
class Comparison:
    """The medians of all rounds: seconds without and with previews; the number of previews and their seconds."""

    without_s: float
    with_s: float
    previews: float
    preview_s: float

    @property
    def ratio(self) -> float:
        """The time with previews, as a multiple of that without."""
        return self.with_s / self.without_s


def fail(error: Exception) -> None:
    """End the benchmark with the error of a preview."""
    raise error


def render(model: Ltx2Model, request: VideoRequest, max_fraction: float | None) -> Run:
    """Render once; with previews if there is a `max_fraction`."""
    previews: list[Preview] = []
    options = None if max_fraction is None else PreviewOptions(previews.append, fail, max_fraction)
    started = time.monotonic()
    clip = model.render(request, NO_CONDITIONS, ignore, options)
    return Run(clip.frames, time.monotonic() - started, tuple(previews))


def compare(model: Ltx2Model, request: VideoRequest, rounds: int, max_fraction: float) -> Comparison:
    """Measure `rounds` pairs after a warm-up. Raises RuntimeError if a preview changed the frames."""
    without: list[Run] = []
    shown: list[Run] = []
    for number in range(rounds + 1):
        pair = render(model, request, None), render(model, request, max_fraction)
        if not np.array_equal(pair[0].frames, pair[1].frames):
            raise RuntimeError("the frames with and without previews differ")
        if number > 0:
            without.append(pair[0])
            shown.append(pair[1])
    return Comparison(
        statistics.median(each.seconds for each in without),
        statistics.median(each.seconds for each in shown),
        statistics.median(len(each.previews) for each in shown),
        statistics.median(each.preview_s for each in shown),
    )


def show(found: Comparison, max_fraction: float) -> None:
    """Print the table."""
    print(f"{'without previews':<34} {found.without_s:8.3f} s")
    print(f"{'with previews':<34} {found.with_s:8.3f} s")
    print(f"{'ratio':<34} {found.ratio:8.4f}")
    print(f"{'previews of a render':<34} {found.previews:8g}")
    print(
        f"{'part of the render, by themselves':<34} {found.preview_s / found.with_s:8.4f}  (at most {max_fraction:g})"
    )


def main() -> None:
    """Load the model, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cache-dir", type=Path, default=Path("data/cache"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-fraction", type=float, default=MAX_FRACTION)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    model = Ltx2Model.load(given.model, given.device, given.cache_dir, ignore)
    request = VideoRequest(
        prompt="A lighthouse on a cliff at dusk; waves break on the rocks below.",
        height=given.height,
        width=given.width,
        num_frames=given.frames,
        num_inference_steps=given.steps,
    )
    show(compare(model, request, given.rounds, given.max_fraction), given.max_fraction)


if __name__ == "__main__":
    main()

"""Compares `quality: fast` with `exact` over several seeds: SSIM of the frames, and LPIPS if its package is installed.

    python -m benchmarks.quality --model Lightricks/LTX-2 --device cuda [--seeds 5] [--prompt ...]
    python -m benchmarks.quality                              the tiny model on a CPU: tests the benchmark itself

Each seed is rendered exact and fast. As a reference it is also rendered exact with another seed, which shows what two
videos of one prompt have in common by chance. For equal frames SSIM is 1 and LPIPS is 0. The tiny model has random
weights: its figures mean nothing for LTX-2, and the output says so. The second run of each kind is timed.
"""

import argparse
import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.progress import Progress
from models.request.enums import Quality
from models.request.request import RequestLimits, VideoRequest, parse_request
from models.yuv import to_rgb

Frames = npt.NDArray[np.uint8]
JUDGED_FRAMES = 9
"""Number of compared frames of each video, evenly spaced."""
PROMPT = "A lighthouse on a cliff in the evening sun; waves break on the rocks, gulls cry."
NOTHING = "random weights: these figures mean nothing for LTX-2"


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def render(model: Ltx2Model, request: VideoRequest, seed: int, quality: Quality) -> tuple[Frames, float]:
    """The compared frames, and the seconds that the render took."""
    start = time.perf_counter()
    clip = model.render(request.model_copy(update={"seed": seed, "quality": quality}), NO_CONDITIONS, ignore)
    seconds = time.perf_counter() - start
    chosen = np.linspace(0, len(clip.frames) - 1, JUDGED_FRAMES, dtype=int)
    frames = clip.frames[np.unique(chosen)]
    return to_rgb(frames) if clip.has_planes else frames, seconds


def ssim(one: Frames, other: Frames) -> float:
    """The mean SSIM over the frames."""
    pairs = zip(one, other, strict=True)
    return statistics.mean(float(structural_similarity(a, b, channel_axis=2)) for a, b in pairs)


class Lpips:
    """Distance between features of a network. Its weights are part of the package."""

    def __init__(self, device: str) -> None:
        import lpips

        self._network: Any = lpips.LPIPS(net="alex", verbose=False).to(device)
        self._device = device

    def __call__(self, one: Frames, other: Frames) -> float:
        """The mean distance over the frames."""
        import torch

        a, b = (torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) for frames in (one, other))
        with torch.no_grad():
            distances = self._network(*(each.to(self._device).float() / 127.5 - 1 for each in (a, b)))
        return float(distances.mean())


def judge(model: Ltx2Model, request: VideoRequest, seeds: int, device: str) -> list[dict[str, float]]:
    """One row per seed: the similarity of fast and exact, and of exact and another seed."""
    lpips = Lpips(device) if importlib.util.find_spec("lpips") else None
    render(model, request, seeds, Quality.EXACT)  # a warm-up, and encodes the prompt
    rows = []
    for seed in range(seeds):
        exact, exact_s = render(model, request, seed, Quality.EXACT)
        fast, fast_s = render(model, request, seed, Quality.FAST)
        other, _ = render(model, request, seed + 1000, Quality.EXACT)
        row = {"ssim": ssim(exact, fast), "ssim_other_seed": ssim(exact, other), "exact_s": exact_s, "fast_s": fast_s}
        if lpips is not None:
            row |= {"lpips": lpips(exact, fast), "lpips_other_seed": lpips(exact, other)}
        rows.append(row)
    return rows


def show(rows: list[dict[str, float]], model: Ltx2Model, left_out: str) -> None:
    """Print mean, minimum and maximum of each figure."""
    print(f"{model.name}, {len(rows)} seeds; fast: {left_out}")
    if model.profile.tiny:
        print(NOTHING)
    print(f"{'':<18}{'mean':>10}{'least':>10}{'most':>10}")
    for name in rows[0]:
        figures = [row[name] for row in rows]
        print(f"{name:<18}{statistics.mean(figures):10.3f}{min(figures):10.3f}{max(figures):10.3f}")
    if "lpips" not in rows[0]:
        print("LPIPS needs the package lpips, which is not installed")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cache-dir", type=Path, default=Path("data/cache"))
    parser.add_argument("--guided-share", type=float, default=LoadOptions().fast_guidance_fraction)
    parser.add_argument("--prompt", default=PROMPT)
    for name, default in {"seeds": 3, "height": 512, "width": 768, "frames": 121, "steps": 40}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    size = {"height": asked.height, "width": asked.width, "num_frames": asked.frames}
    request = parse_request({"prompt": asked.prompt, "num_inference_steps": asked.steps, **size}, RequestLimits())
    options = LoadOptions(fast_guidance_fraction=asked.guided_share)
    model = Ltx2Model.load(asked.model, asked.device, asked.cache_dir, ignore, options)
    rows = judge(model, request, asked.seeds, asked.device)
    render(model, request, 0, Quality.FAST)
    show(rows, model, model.fast_summary)


if __name__ == "__main__":
    main()

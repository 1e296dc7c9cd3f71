"""Whether memory creeps: many tasks of mixed sizes, and what is held after each.

    python -m benchmarks.creep [--model tiny] [--device cpu] [--tasks 200]

Prints what is held after the first round of sizes and after the last: GPU memory in use on cuda (which must be equal),
resident memory of the process on a CPU.
"""

import argparse
from pathlib import Path

import psutil
import torch

from models.ltx2 import Ltx2
from models.progress import Progress
from models.request import VideoRequest

SIZES = ((64, 128, 9), (128, 64, 17), (192, 192, 9), (64, 64, 25))
GPU_SIZES = ((512, 768, 121), (768, 512, 49), (704, 1280, 97), (256, 384, 25))


def held_bytes(device: str) -> int:
    """What is held between two tasks."""
    return torch.cuda.memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss


def ignore(_progress: Progress) -> None:
    """A report that nobody reads."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    sizes = GPU_SIZES if arguments.device == "cuda" and arguments.model != "tiny" else SIZES
    model = Ltx2.load(arguments.model, arguments.device, Path("data/cache"), ignore)
    held: list[int] = []
    for number in range(arguments.tasks):
        height, width, frames = sizes[number % len(sizes)]
        request = VideoRequest(
            prompt=f"a cat, take {number}",
            height=height,
            width=width,
            num_frames=frames,
            num_inference_steps=arguments.steps,
            seed=number,
        )
        model.render(request, None, ignore)
        held.append(held_bytes(arguments.device))
    first, last = max(held[: 2 * len(sizes)]), max(held[-len(sizes) :])
    print(f"{arguments.tasks} tasks: {first / 1e6:.0f} MB held after the first, {last / 1e6:.0f} MB after the last")
    print(f"creep: {(last - first) / 1e3 / max(1, arguments.tasks):.1f} kB a task")


if __name__ == "__main__":
    main()

"""Looks for a memory leak: runs many tasks of mixed sizes and records the memory in use after each.

    python -m benchmarks.memory_leak [--model tiny] [--device cpu] [--tasks 200]

Prints the memory in use after the first round of sizes and after the last. On cuda it is allocated GPU memory, which
must be equal; on a CPU it is the process's resident memory.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch

from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.progress import Progress
from models.request.request import VideoRequest

Sizes = Sequence[tuple[int, int, int]]
SIZES: Sizes = ((64, 128, 9), (128, 64, 17), (192, 192, 9), (64, 64, 25))
GPU_SIZES: Sizes = ((512, 768, 121), (768, 512, 49), (704, 1280, 97), (256, 384, 25))


def held_bytes(device: str) -> int:
    """The memory in use between two tasks, in bytes."""
    return torch.cuda.memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def sizes_for(model: Ltx2Model, device: str) -> Sizes:
    """Height, width and frames of the tasks."""
    return GPU_SIZES if device == "cuda" and not model.profile.tiny else SIZES


def held_after(model: Ltx2Model, num_tasks: int, steps: int, device: str) -> list[int]:
    """The memory in use after each task, in bytes."""
    sizes, held = sizes_for(model, device), []
    for number in range(num_tasks):
        height, width, frames = sizes[number % len(sizes)]
        request = VideoRequest(
            prompt=f"a cat, take {number}",
            height=height,
            width=width,
            num_frames=frames,
            num_inference_steps=steps,
            seed=number,
        )
        model.render(request, NO_CONDITIONS, ignore)
        held.append(held_bytes(device))
    return held


def creep_bytes(held: Sequence[int], num_sizes: int) -> int:
    """The increase in bytes between the first two tasks of each size and the last ones."""
    return max(held[-num_sizes:]) - max(held[: 2 * num_sizes])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    model = Ltx2Model.load(arguments.model, arguments.device, Path("data/cache"), ignore)
    held = held_after(model, arguments.tasks, arguments.steps, arguments.device)
    crept = creep_bytes(held, len(sizes_for(model, arguments.device)))
    print(
        f"{arguments.tasks} tasks: {held[0] / 1e6:.0f} MB held after the first, {held[-1] / 1e6:.0f} MB after the last"
    )
    print(f"creep: {crept / 1e3 / arguments.tasks:.1f} kB a task")


if __name__ == "__main__":
    main()

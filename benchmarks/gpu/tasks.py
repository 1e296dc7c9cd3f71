"""Whole tasks as the server renders them: where the seconds go, what is taken beside what was told, what is left."""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from benchmarks.creep import creep_bytes, held_after, sizes_for
from benchmarks.gpu.measure import GB, Shape, forget_peak, held_gb, peak_gb, wait
from benchmarks.gpu.subject import Source, held_sizes, open_model
from models import offload
from models.adjustments import adjust
from models.choices import Quality
from models.estimate import estimate_peak
from models.host_memory import free_host_bytes
from models.ltx2 import Ltx2
from models.memory import free_memory
from models.options import LoadOptions
from models.placement import Place, Placement, Sizes, Weights, plan, plan_cpu
from models.progress import Progress, Stage
from models.request import VideoRequest

CARDS_GB = (16, 24, 48)
"""Simulated by a bound of torch's allocator, where the GPU is larger."""
CARD_STEPS = 3
CREEP_TASKS = 24
CREEP_STEPS = 2


@dataclass(frozen=True)
class Task:
    """What is asked for."""

    name: str
    request: VideoRequest
    from_image: bool = False


def tasks(shape: Shape, large: Shape) -> list[Task]:
    """The first warms up; the second has the same prompt."""

    def ask(name: str, of: Shape, *, from_image: bool = False, **more: Any) -> Task:
        size = {"height": of.height, "width": of.width, "num_frames": of.num_frames, "num_inference_steps": of.steps}
        request = VideoRequest(prompt="A cat walks over a sunny meadow.", seed=1, **{**size, **more})
        return Task(name, request, from_image)

    few = replace(shape, steps=CARD_STEPS)
    unguided = {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0}
    return [
        ask("new prompt", few),
        ask("known prompt", shape),
        ask("from an image", few, from_image=True),
        ask("quality fast", shape, quality=Quality.FAST),
        ask("8 steps, unguided", replace(shape, steps=8), **unguided),
        ask("large", replace(large, steps=CARD_STEPS)),
    ]


class Clock:
    """Notes when each part of a render begins."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._marks: list[tuple[Stage, float]] = []

    def note(self, progress: Progress) -> None:
        """Take a report of the render."""
        wait(self._device)
        self._marks.append((progress.stage, time.perf_counter()))

    def parts(self) -> dict[str, float]:
        """Seconds: until the first call of the transformer, in its steps, in the picture's and the sound's decoder.

        To be asked when the render has ended.
        """
        wait(self._device)
        end = time.perf_counter()
        steps = [at for stage, at in self._marks if stage is Stage.DENOISING]
        picture, sound = (at for stage, at in self._marks if stage is Stage.DECODING)
        start, first = steps[0], steps[1]
        return {
            "text_s": first - start,
            "denoise_s": picture - first,
            "picture_s": sound - picture,
            "sound_s": end - sound,
            "seconds": end - start,
        }


def measure_task(model: Ltx2, task: Task, device: str) -> dict[str, Any]:
    """Render one task. Memory is what it takes beside what was held before."""
    request = adjust(task.request, model.find_adjustments(task.request))
    image = Image.new("RGB", (request.width, request.height), "teal") if task.from_image else None
    free_memory()
    forget_peak(device)
    held = held_gb(device)
    clock = Clock(device)
    model.render(task.request, image, clock.note)
    parts = clock.parts()
    return {
        "task": task.name,
        **parts,
        "peak_gb": peak_gb(device) - held,
        "told_gb": estimate_peak(request, from_image=task.from_image).bytes / GB,
        "left_gb": held_gb(device) - held,
    }


def measure_tasks(source: Source, device: str, shape: Shape, large: Shape) -> dict[str, Any]:
    """All tasks on the fastest placement that this machine has room for, then whether memory creeps."""
    model = open_model(source, device, choose(source, device), LoadOptions())
    rows = [measure_task(model, task, device) for task in tasks(shape, large)]
    held = held_after(model, CREEP_TASKS, CREEP_STEPS, device)
    crept_gb = creep_bytes(held, len(sizes_for(model, device))) / GB
    figures = {"place": str(model.placement.place), "speedups": [str(name) for name in model.speedups]}
    model.close()
    return {**figures, "tasks": rows, "crept_gb": crept_gb, "crept_over_tasks": CREEP_TASKS}


def measure_cards(source: Source, device: str, shape: Shape) -> list[dict[str, Any]]:
    """A task on each placement that smaller cards need, under a bound of the allocator as large as the card."""
    if device == "cpu":  # stands for a GPU: there, one placement is all
        needed = [(0, choose(source, device))]
    else:
        needed = needed_by_cards(held_sizes(source), free_host_bytes())
    return [_measure_card(source, device, shape, card_gb, placed) for card_gb, placed in needed]


def _measure_card(source: Source, device: str, shape: Shape, card_gb: int, placed: Placement) -> dict[str, Any]:
    few = replace(shape, steps=CARD_STEPS)
    options = LoadOptions(weights=placed.weights)
    model = open_model(source, device, placed, options, lambda: cap_memory(card_gb, device))
    try:
        row = measure_task(model, tasks(few, few)[0], device)
    finally:
        model.close()
        cap_memory(None, device)
    return {"card_gb": card_gb, "place": str(placed.place), "weights": str(placed.weights), **row}


def needed_by_cards(sizes: Sizes, host_bytes: int) -> list[tuple[int, Placement]]:
    """The smallest card, in GB, for each placement. Raises ModelUnavailable where host memory is too small for one."""
    found: dict[tuple[Place, Weights], tuple[int, Placement]] = {}
    for card_gb in CARDS_GB:
        for weights in Weights:
            placed = plan(card_gb * GB, host_bytes, sizes, weights=weights)
            found.setdefault((placed.place, weights), (card_gb, placed))
    return list(found.values())


def choose(source: Source, device: str) -> Placement:
    """Where this machine's memory puts the model."""
    sizes = held_sizes(source)
    if device == "cpu":
        return plan_cpu(free_host_bytes(), sizes)
    free_memory()
    return plan(offload.free_vram_bytes(), free_host_bytes(), sizes)


def cap_memory(card_gb: int | None, device: str) -> None:
    """Let torch take no more of the GPU than a card of `card_gb` has; None lifts the bound."""
    if device != "cuda":
        return
    total_bytes = torch.cuda.get_device_properties(0).total_memory
    share = 1.0 if card_gb is None else min(1.0, card_gb * GB / total_bytes)
    torch.cuda.set_per_process_memory_fraction(share)

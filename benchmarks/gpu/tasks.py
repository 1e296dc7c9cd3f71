"""Measures whole tasks on the server's model: seconds per part, peak memory beside the estimate, leaked memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from benchmarks.gpu.measure import GB, Shape, forget_peak, held_gb, peaks_gb, wait
from benchmarks.gpu.model_under_test import Source, held_sizes, open_model
from benchmarks.gpu.table_rows import Row, tried
from benchmarks.memory_leak import creep_bytes, held_after, sizes_for
from models.checkpoint.profile import NO_GUIDANCE
from models.conditions import GivenTokens, first_frame
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.estimate import estimate_peak
from models.memory.gpu import collect_and_empty_cache
from models.memory.host import free_host_bytes
from models.memory.offload_plan import OffloadMode, Placement, Sizes, WeightDtype, plan, plan_cpu
from models.progress import Progress, Stage
from models.request.adjustments import apply_adjustments
from models.request.enums import Quality
from models.request.request import VideoRequest

CARDS_GB = (16, 24, 48)
"""Simulated on a larger GPU."""
CARD_STEPS = 3
CREEP_TASKS = 24
CREEP_STEPS = 2


@dataclass(frozen=True)
class Task:
    """A named request."""

    name: str
    request: VideoRequest
    from_image: bool = False


def tasks(shape: Shape, large: Shape) -> list[Task]:
    """The tasks. The first is a warm-up; the second has the same prompt."""

    def ask(name: str, of: Shape, *, from_image: bool = False, **more: Any) -> Task:
        size = {"height": of.height, "width": of.width, "num_frames": of.num_frames, "num_inference_steps": of.steps}
        request = VideoRequest(prompt="A cat walks over a sunny meadow.", seed=1, **{**size, **more})
        return Task(name, request, from_image)

    few = replace(shape, steps=CARD_STEPS)
    return [
        ask("new prompt", few),
        ask("known prompt", shape),
        ask("from an image", few, from_image=True),
        ask("quality fast", shape, quality=Quality.FAST),
        ask("8 steps, unguided", replace(shape, steps=8), **NO_GUIDANCE),
        ask("large", replace(large, steps=CARD_STEPS)),
    ]


class Clock:
    """Records when each part of a render begins."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._marks: list[tuple[Stage, float]] = []

    def note(self, progress: Progress) -> None:
        """Process a progress report of the render."""
        wait(self._device)
        self._marks.append((progress.stage, time.perf_counter()))

    def parts(self) -> dict[str, float]:
        """Seconds until the transformer's first call, in its steps, in the video decoder and in the audio decoder.

        Call it when the render has ended.
        """
        wait(self._device)
        end = time.perf_counter()
        steps = [at for stage, at in self._marks if stage is Stage.DENOISING]
        image, audio = (at for stage, at in self._marks if stage is Stage.DECODING)
        start, first = steps[0], steps[1]
        return {
            "text_s": first - start,
            "denoise_s": image - first,
            "image_s": audio - image,
            "sound_s": end - audio,
            "seconds": end - start,
        }


def measure_task(model: Ltx2Model, task: Task, device: str) -> Row:
    """Render one task. Memory is counted beyond what was allocated before, so streamed weights are included."""
    request = apply_adjustments(task.request, model.find_adjustments(task.request))
    image = Image.new("RGB", (request.width, request.height), "teal") if task.from_image else None
    collect_and_empty_cache()
    forget_peak(device)
    held = held_gb(device)
    clock = Clock(device)
    model.render(task.request, first_frame(image), clock.note)
    parts = clock.parts()
    peak, reserved = peaks_gb(device)
    return {
        **parts,
        "peak_gb": peak - held,
        "reserved_gb": reserved - held,
        "told_gb": estimate_peak(request, given=GivenTokens(own_timesteps=task.from_image)).bytes / GB,
        "left_gb": held_gb(device) - held,
    }


def measure_tasks(source: Source, device: str, shape: Shape, large: Shape) -> Iterator[Row]:
    """All tasks on the fastest placement for this machine's memory, then the test for a memory leak."""
    model = open_model(source, device, choose(source, device), LoadOptions())
    try:
        yield {"place": str(model.placement.mode), "speedups": [str(name) for name in model.optimizations]}
        for task in tasks(shape, large):
            yield tried({"task": task.name}, lambda task=task: measure_task(model, task, device))
        yield tried({"task": f"{CREEP_TASKS} of mixed sizes"}, lambda: _measure_creep(model, device))
    finally:
        model.close()


def _measure_creep(model: Ltx2Model, device: str) -> Row:
    held = held_after(model, CREEP_TASKS, CREEP_STEPS, device)
    return {"crept_gb": creep_bytes(held, len(sizes_for(model, device))) / GB}


def measure_cards(source: Source, device: str, shape: Shape) -> Iterator[Row]:
    """One task on each placement that smaller GPUs need, with GPU memory limited to that of such a GPU."""
    if device == "cpu":  # on a CPU one placement is enough
        needed = [(0, choose(source, device))]
    else:
        needed = needed_by_cards(held_sizes(source), free_host_bytes())
    few = replace(shape, steps=CARD_STEPS)
    for card_gb, placed in needed:
        names = {"card_gb": card_gb, "place": str(placed.mode), "weights": str(placed.weights)}
        card = SmallCard(card_gb, device)
        yield tried(names, lambda card=card, placed=placed: _measure_card(source, device, few, card, placed))
        if placed.mode is OffloadMode.BLOCK:
            with _recorded_streams():
                told = {**names, "place": f"{placed.mode}, record_stream"}
                yield tried(told, lambda card=card, placed=placed: _measure_card(source, device, few, card, placed))


@contextmanager
def _recorded_streams() -> Iterator[None]:
    """Let the allocator release finished blocks, instead of waiting for the GPU at the end of each."""
    offload.RECORD_STREAM = True
    try:
        yield
    finally:
        offload.RECORD_STREAM = False


def _measure_card(source: Source, device: str, shape: Shape, card: "SmallCard", placed: Placement) -> Row:
    try:
        model = open_model(source, device, placed, LoadOptions(weight_dtype=placed.weights), card.take_rest)
        try:
            return measure_task(model, tasks(shape, shape)[0], device)
        finally:
            model.close()
    finally:
        card.give_back()


def needed_by_cards(sizes: Sizes, host_bytes: int) -> list[tuple[int, Placement]]:
    """The smallest GPU, in GB, for each placement. Raises ModelUnavailable if host memory is too small for one."""
    found: dict[tuple[OffloadMode, WeightDtype], tuple[int, Placement]] = {}
    for card_gb in CARDS_GB:
        for weights in WeightDtype:
            placed = plan(card_gb * GB, host_bytes, sizes, weights=weights)
            found.setdefault((placed.mode, weights), (card_gb, placed))
    return list(found.values())


def choose(source: Source, device: str) -> Placement:
    """The placement for this machine's memory."""
    sizes = held_sizes(source)
    if device == "cpu":
        return plan_cpu(free_host_bytes(), sizes)
    collect_and_empty_cache()
    return plan(offload.free_vram_bytes(), free_host_bytes(), sizes)


class SmallCard:
    """Simulates a GPU of `card_gb` on a larger one.

    It allocates the rest, so that the measured free memory is that of the smaller GPU.
    """

    def __init__(self, card_gb: int, device: str) -> None:
        self._card_gb = card_gb
        self._device = device
        self._rest: torch.Tensor | None = None

    def take_rest(self) -> None:
        """Allocate all GPU memory beyond that of the small GPU."""
        if self._device == "cuda":
            rest_bytes = max(0, offload.card_bytes() - self._card_gb * GB)
            self._rest = torch.empty(rest_bytes, dtype=torch.uint8, device=self._device)

    def give_back(self) -> None:
        """Free the allocated rest."""
        self._rest = None
        collect_and_empty_cache()

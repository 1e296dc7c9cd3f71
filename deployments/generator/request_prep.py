"""Adapts a request to the loaded model: records the adjustments, and refuses a request that has no room."""

import io
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from models.clip import Clip
from models.conditions import NOTHING_GIVEN, Condition, GivenTokens
from models.errors import RenderFailed, StoreUnavailable
from models.memory.estimate import check_fits, check_tiny_fits
from models.memory.host import free_host_bytes
from models.request.adjustments import chosen_duration, made_at_submit
from models.request.request import RequestLimits
from storage.inputs import unpack_inputs
from storage.outputs.store import OutputStore
from storage.sql.workers import WorkerQueries
from storage.tasks import Task

if TYPE_CHECKING:
    from models.ltx2.model import Ltx2Model

logger = logging.getLogger("ray.serve")


def apply_adjustments(task: Task, model: "Ltx2Model", tasks: WorkerQueries) -> Task:
    """Record which fields of the request the model replaces. Returns the task with these adjustments."""
    found = model.find_adjustments(task.request)
    adjustments = (*made_at_submit(task.adjustments), *found)
    if adjustments == task.adjustments:
        return task
    for each in found:
        logger.info("task %s: %s is %s: %s", task.id, each.field, each.used, each.reason)
    with suppress(StoreUnavailable):
        tasks.record_adjustments(task, adjustments)
    return replace(task, adjustments=adjustments)


def check_memory(task: Task, model: "Ltx2Model", limits: RequestLimits, given: GivenTokens = NOTHING_GIVEN) -> None:
    """Refuse a request that would run out of memory later. Raises DoesNotFit.

    The first task of a model is accepted before the model's free memory is known, so it is checked here. So is each
    task of the tiny model on a CPU: its memory is that of the host, which others use too.
    """
    if model.renders_noise_on_cpu:
        check_tiny_fits(task.rendered_request, free_host_bytes(), limits)
    if model.free_vram_bytes is not None:
        check_fits(task.rendered_request, model.free_vram_bytes, limits, given)


def record_duration(task: Task, clip: Clip, tasks: WorkerQueries) -> None:
    """Record the duration of the video, when the model chose it."""
    if chosen := chosen_duration(task.rendered_request, len(clip.frames)):
        with suppress(StoreUnavailable):
            tasks.record_adjustments(task, (*task.adjustments, *chosen))


def load_conditions(task: Task, outputs: OutputStore) -> tuple[Condition, ...]:
    """Load the images that a task was given: RGB, of the video's size or larger.

    Empty for a text-to-video task. Raises RenderFailed when the file is missing.
    """
    if task.input_key is None:
        return ()
    from PIL import Image

    try:
        content = b"".join(outputs.open(task.input_key))
    except FileNotFoundError:
        raise RenderFailed("the input image of the task is missing") from None
    return tuple(
        Condition(Image.open(io.BytesIO(each.content)).convert("RGB"), each.place)
        for each in unpack_inputs(content).images
    )

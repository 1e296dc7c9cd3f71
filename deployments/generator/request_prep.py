"""A request and the model that is there: what is rendered otherwise is written down, what has no room is refused."""

import io
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from models.clip import Clip
from models.errors import RenderFailed, StoreUnavailable
from models.memory.estimate import check_fits
from models.request.adjustments import chosen_duration
from models.request.request import RequestLimits
from storage.outputs.store import OutputStore
from storage.task_store import TaskStore
from storage.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from models.ltx2.model import Ltx2Model

logger = logging.getLogger("ray.serve")


def apply_adjustments(task: Task, model: "Ltx2Model", tasks: TaskStore) -> Task:
    """The task with what the model cannot use of its request, written down for the client."""
    adjustments = model.find_adjustments(task.request)
    if adjustments == task.adjustments:
        return task
    for each in adjustments:
        logger.info("task %s: %s is %s: %s", task.id, each.field, each.used, each.reason)
    with suppress(StoreUnavailable):
        tasks.record_adjustments(task, adjustments)
    return replace(task, adjustments=adjustments)


def check_memory(task: Task, model: "Ltx2Model", limits: RequestLimits) -> None:
    """Refuse at once what would run out of memory later: the first task of a model was accepted unmeasured."""
    if model.free_vram_bytes is not None:
        check_fits(task.rendered_request, model.free_vram_bytes, limits, from_image=task.input_key is not None)


def record_duration(task: Task, clip: Clip, tasks: TaskStore) -> None:
    """Write down how long the video came to be, where that was left to the model."""
    if chosen := chosen_duration(task.rendered_request, len(clip.frames)):
        with suppress(StoreUnavailable):
            tasks.record_adjustments(task, (*task.adjustments, *chosen))


def load_input_image(task: Task, outputs: OutputStore) -> "Image | None":
    """The image that an image-to-video task starts from, of the video's size or larger.

    Raises RenderFailed when it is gone.
    """
    if task.input_key is None:
        return None
    from PIL import Image

    try:
        content = b"".join(outputs.open(task.input_key))
    except FileNotFoundError:
        raise RenderFailed("the picture that the task starts from is gone") from None
    return Image.open(io.BytesIO(content)).convert("RGB")

"""Adapts a request to the loaded model: records the adjustments, and refuses a request that has no room."""

import io
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deployments.generator.given_media import read_audio, read_clip
from models.clip import Clip
from models.conditions import NO_CONDITIONS, AudioCondition, ClipCondition, Conditions, ControlCondition, ImageCondition
from models.errors import RenderFailed, StoreUnavailable
from models.memory.estimate import check_fits, check_tiny_fits
from models.memory.host import free_host_bytes
from models.request.adjustments import apply_adjustments as request_with
from models.request.adjustments import chosen_duration, left_out_steps, made_at_submit
from models.request.control import control_divisor
from models.request.request import RequestLimits, VideoRequest
from storage.inputs import InputControl, InputSource, unpack_inputs
from storage.outputs.store import OutputStore
from storage.sql.workers import WorkerQueries
from storage.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from models.ltx2.model import Ltx2Model

logger = logging.getLogger("ray.serve")


def apply_adjustments(
    task: Task, model: "Ltx2Model", tasks: WorkerQueries, conditions: Conditions = NO_CONDITIONS
) -> Task:
    """Record which fields of the request the model replaces. Returns the task with these adjustments.

    A source may leave out the first steps. What counts is then the number of steps that are run.
    """
    found = model.find_adjustments(task.request)
    edit = None if conditions.clip is None else conditions.clip.edit
    found = (*found, *left_out_steps(request_with(task.request, found), edit))
    adjustments = (*made_at_submit(task.adjustments), *found)
    if adjustments == task.adjustments:
        return task
    for each in found:
        logger.info("task %s: %s is %s: %s", task.id, each.field, each.used, each.reason)
    with suppress(StoreUnavailable):
        tasks.record_adjustments(task, adjustments)
    return replace(task, adjustments=adjustments)


def check_memory(task: Task, model: "Ltx2Model", limits: RequestLimits, conditions: Conditions = NO_CONDITIONS) -> None:
    """Refuse a request that would run out of memory later. Raises DoesNotFit.

    The first task of a model is accepted before the model's free memory is known, so it is checked here. So is each
    task of the tiny model on a CPU: its memory is that of the host, which others use too.
    """
    request = conditions.rendered_request(task.rendered_request)
    if model.renders_noise_on_cpu:
        check_tiny_fits(request, free_host_bytes(), limits, conditions.tokens)
    if model.free_vram_bytes is not None:
        check_fits(request, model.free_vram_bytes, limits, conditions.tokens)


def record_duration(task: Task, clip: Clip, tasks: WorkerQueries) -> None:
    """Record the duration of the video, when the model chose it."""
    if chosen := chosen_duration(task.rendered_request, len(clip.frames)):
        with suppress(StoreUnavailable):
            tasks.record_adjustments(task, (*task.adjustments, *chosen))


def load_conditions(task: Task, outputs: OutputStore) -> Conditions:
    """Load what a task was given: images are RGB, of the video's size or larger.

    Raises RenderFailed when the file is missing, and when a clip or a control video has the wrong size.
    """
    if task.input_key is None:
        return NO_CONDITIONS
    try:
        content = b"".join(outputs.open(task.input_key))
    except FileNotFoundError:
        raise RenderFailed("the input file of the task is missing") from None
    inputs = unpack_inputs(content)
    return Conditions(
        tuple(ImageCondition(_open_image(each.content), each.place) for each in inputs.images),
        None if inputs.audio is None else AudioCondition(read_audio(inputs.audio.content), inputs.audio.strength),
        None if inputs.source is None else _open_clip(inputs.source, task.request),
        None if inputs.control is None else _open_control(inputs.control, task.request),
    )


def _open_image(content: bytes) -> "Image":
    from PIL import Image

    return Image.open(io.BytesIO(content)).convert("RGB")


def _open_clip(source: InputSource, request: VideoRequest) -> ClipCondition:
    frames, audio = read_clip(source.content)
    _check_size("source", frames, request)
    return ClipCondition(frames, audio, source.edit)


def _open_control(control: InputControl, request: VideoRequest) -> ControlCondition:
    frames, _ = read_clip(control.content)
    _check_size("control video", frames, request, control_divisor(request, control.downscale_factor))
    return ControlCondition(frames, control.lora, control.strength, control.downscale_factor)


def _check_size(what: str, frames: npt.NDArray[np.uint8], request: VideoRequest, divisor: int = 1) -> None:
    """Raise RenderFailed for planes whose sides are not those of the video, divided by `divisor`."""
    height, width = frames.shape[1] * 2 // 3, frames.shape[2]
    if (height, width) != (request.height // divisor, request.width // divisor):
        needed = f"{request.width // divisor}x{request.height // divisor}"
        raise RenderFailed(f"the {what} is {width}x{height}, and the video needs {needed}")

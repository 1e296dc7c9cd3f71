"""What the Generator makes of a task before it renders: the given images, and whether they fit."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deployments.generator.request_prep import apply_adjustments, check_memory, load_conditions
from models.conditions import NO_CONDITIONS, ClipCondition, Conditions, GivenTokens, ImageCondition
from models.errors import DoesNotFit, RenderFailed, StoreUnavailable
from models.memory.estimate import estimate_peak
from models.request.adjustments import FIXED_STEPS, FROM_VIDEO, Adjustment
from models.request.edits import Edit, video_to_video
from models.request.places import LAST, Place
from models.request.request import RequestLimits, VideoRequest
from storage.inputs import InputImage, TaskInputs, pack_inputs
from storage.outputs.local import LocalOutputStore
from storage.tasks import Task
from tests.tasks import WAITING

KEY = "inputs/x"
FROM_IMAGE = replace(WAITING, input_key=KEY)


class SmallGpu:
    """A model whose GPU has just enough memory for a default video from its first frame."""

    renders_noise_on_cpu = False
    free_vram_bytes = estimate_peak(WAITING.request, GivenTokens(True)).sized_bytes


@pytest.fixture
def outputs(tmp_path: Path) -> LocalOutputStore:
    return LocalOutputStore(tmp_path)


def png(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_images_come_with_their_places(outputs: LocalOutputStore) -> None:
    places = [Place(0, 0.5), Place(LAST, 1.0), Place(12, 0.25)]
    colors = ["red", "lime", "blue"]
    images = [InputImage(png(color), each) for color, each in zip(colors, places, strict=True)]
    outputs.put(KEY, pack_inputs(TaskInputs(tuple(images))))
    conditions = load_conditions(FROM_IMAGE, outputs)
    assert [each.place for each in conditions.images] == places
    assert [each.image.getpixel((0, 0)) for each in conditions.images] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_a_file_of_an_earlier_version_is_a_whole_first_image(outputs: LocalOutputStore) -> None:
    outputs.put(KEY, png("red"))
    assert [each.place for each in load_conditions(FROM_IMAGE, outputs).images] == [Place(0, 1.0)]


def test_a_text_has_no_images_and_a_missing_file_is_told(outputs: LocalOutputStore) -> None:
    assert load_conditions(WAITING, outputs) == NO_CONDITIONS
    with pytest.raises(RenderFailed, match="the input file of the task is missing"):
        load_conditions(FROM_IMAGE, outputs)


def test_a_store_that_is_away_is_no_failed_render(outputs: LocalOutputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Dispatcher then tries again."""

    def away(_key: str) -> Iterator[bytes]:
        raise StoreUnavailable("the output store does not respond")

    monkeypatch.setattr(outputs, "open", away)
    with pytest.raises(StoreUnavailable) as raised:
        load_conditions(FROM_IMAGE, outputs)
    assert raised.value.retryable


def test_images_that_do_not_fit_beside_the_model_are_refused_before_the_render() -> None:
    first, last = (ImageCondition(Image.new("RGB", (64, 64)), Place(frame, 1.0)) for frame in (0, 120))
    check_memory(FROM_IMAGE, SmallGpu(), RequestLimits(), Conditions((first,)))
    with pytest.raises(DoesNotFit):
        check_memory(FROM_IMAGE, SmallGpu(), RequestLimits(), Conditions((first, last)))


class Distilled:
    """A model with eight steps."""

    def find_adjustments(self, request: VideoRequest) -> tuple[Adjustment, ...]:
        return (Adjustment("num_inference_steps", request.num_inference_steps, 8, FIXED_STEPS),)


class Recorder:
    """Keeps the adjustments of a task."""

    def __init__(self) -> None:
        self.recorded: tuple[Adjustment, ...] = ()

    def record_adjustments(self, _task: Task, adjustments: tuple[Adjustment, ...]) -> bool:
        self.recorded = adjustments
        return True


@pytest.mark.parametrize(("edit", "steps"), [(video_to_video(25, 0.5), 4), (video_to_video(25, 1), 1), (Edit(0, 9), 8)])
def test_of_a_task_from_a_source_the_steps_that_are_run_count(edit: Edit, steps: int) -> None:
    """Also after it was requeued: what an earlier run recorded is found anew."""
    clip = ClipCondition(np.zeros((25, 96, 64), np.uint8), None, edit)
    tasks, told = Recorder(), Adjustment("width", 768, 64, FROM_VIDEO)
    task = replace(WAITING, adjustments=(told,))
    for _ in range(2):
        task = apply_adjustments(task, Distilled(), tasks, Conditions(clip=clip))  # type: ignore[arg-type]
        assert task.rendered_request.num_inference_steps == steps
        assert task.request == WAITING.request
        assert (task.adjustments[0], len(task.adjustments)) == (told, 2 + (steps < 8))
    assert tasks.recorded == task.adjustments

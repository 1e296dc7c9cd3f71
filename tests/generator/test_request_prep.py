"""What the Generator makes of a task before it renders: the given images, and whether they fit."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from deployments.generator.request_prep import check_memory, load_conditions
from models.conditions import NO_CONDITIONS, Conditions, GivenTokens, ImageCondition
from models.errors import DoesNotFit, RenderFailed, StoreUnavailable
from models.memory.estimate import estimate_peak
from models.request.places import LAST, Place
from models.request.request import RequestLimits
from storage.inputs import InputImage, TaskInputs, pack_inputs
from storage.outputs.local import LocalOutputStore
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

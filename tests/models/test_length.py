"""`length: auto` leaves the length to LTX-2.5, which predicts it from the prompt, up to the request's `num_frames`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from models.conditions import NO_CONDITIONS, first_frame
from models.ltx2.model import Ltx2Model
from models.request.adjustments import chosen_duration
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES, FamilyCase
from tests.models.reference import assert_same, by_diffusers, load, make_image

OF_2_5 = ("2.5", "2.5 full")


@pytest.fixture(scope="module", params=OF_2_5)
def family(request: pytest.FixtureRequest) -> FamilyCase:
    return FAMILIES[str(request.param)]


@pytest.fixture(scope="module")
def folder(family: FamilyCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.build(tmp_path_factory.mktemp("choosing"))


@pytest.fixture(scope="module")
def model(family: FamilyCase, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = load(family, folder, tmp_path_factory.mktemp("cache"))
    yield model
    model.close()


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
def test_a_length_that_is_left_to_the_model_is_the_one_that_diffusers_chooses(
    family: FamilyCase, folder: Path, model: Ltx2Model, image: Image.Image | None
) -> None:
    request = small(num_frames=49, length="auto")
    bounds = {"num_frames": None, "min_seconds": 49 / 25 / 2, "max_seconds": 49 / 25}
    frames, audio = by_diffusers(folder, family, request, image, **bounds)
    for _ in range(2):  # the second time, the text is cached
        rendered = model.render(request, first_frame(image), ignore)
        assert 9 <= len(rendered.frames) < 49
        assert_same(rendered, frames, audio)
    assert chosen_duration(request, len(frames))[0].used == len(frames)


def test_the_model_chooses_no_more_frames_than_were_asked_for(model: Ltx2Model) -> None:
    assert "length" not in [each.field for each in model.find_adjustments(small(length="auto"))]
    for most in (9, 17, 20):
        assert 9 <= len(model.render(small(num_frames=most, length="auto"), NO_CONDITIONS, ignore).frames) <= most


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in OF_2_5], indirect=True)
def test_a_family_that_cannot_choose_says_so(family: FamilyCase, model: Ltx2Model) -> None:
    (said,) = [each for each in model.find_adjustments(small(length="auto")) if each.field == "length"]
    assert (said.given, said.used) == ("auto", "exact")

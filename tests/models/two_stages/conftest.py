"""Distilled families with a latent upsampler."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.fixes import NONE
from models.ltx2.model import Ltx2Model
from models.request.adjustments import apply_adjustments
from models.request.request import VideoRequest
from tests.models.conftest import small
from tests.models.families import FAMILIES, FamilyCase, add_upsampler
from tests.models.reference import load

DISTILLED = tuple(name for name, case in FAMILIES.items() if case.distilled)


@pytest.fixture(scope="module", params=DISTILLED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(folder: Path) -> Path:
    add_upsampler(folder)
    return folder


@pytest.fixture(scope="module")
def plain(family: FamilyCase, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    """Without fixes: as diffusers renders."""
    model = load(family, folder, tmp_path_factory.mktemp("cache"), NONE)
    yield model
    model.close()


def upscaled(model: Ltx2Model, **fields: object) -> VideoRequest:
    """A small request in two stages, as the model renders it."""
    request = small(**{"height": 128, "width": 128, "num_frames": 17, "upscale": 2, **fields})
    return apply_adjustments(request, model.find_adjustments(request))

"""A distilled checkpoint renders with its own parameters, and a request with others is told so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES

from models.checkpoint.profile import CheckpointType
from models.conditions import NO_CONDITIONS
from models.fixes import NONE
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.optimizations.selection import OFF
from models.progress import Progress, Stage
from models.request.adjustments import apply_adjustments, visible_to_client
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES, build_2_3, build_2_3_distilled
from tests.models.reference import assert_same, by_diffusers


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    """A checkpoint whose scheduler is still that of its base. The operator's setting says that it is distilled."""
    folder = build_2_3(tmp_path_factory.mktemp("distilled"))
    model = Ltx2Model.load(
        str(folder), "cpu", folder, ignore, LoadOptions(checkpoint_type=CheckpointType.DISTILLED, fixes=NONE)
    )
    yield model
    model.close()


def test_the_operator_s_word_does_what_the_scheduler_s_config_does(distilled: Ltx2Model, tmp_path: Path) -> None:
    frames, audio = by_diffusers(build_2_3(tmp_path), FAMILIES["2.3 distilled"], small(), None)
    assert_same(distilled.render(small(), NO_CONDITIONS, ignore), frames, audio)


def test_the_operator_s_word_puts_the_schedule_of_a_base_model_right(tmp_path: Path) -> None:
    """A base model whose scheduler's config is that of a distilled one."""
    folder = build_2_3_distilled(tmp_path / "model")
    options = LoadOptions(checkpoint_type=CheckpointType.BASE, fixes=NONE, optimizations=OFF)
    base = Ltx2Model.load(str(folder), "cpu", tmp_path / "cache", ignore, options)
    frames, audio = by_diffusers(folder, FAMILIES["2.3"], small(), None)
    assert_same(base.render(small(), NO_CONDITIONS, ignore), frames, audio)
    base.close()


def test_the_noise_levels_of_a_distilled_model_are_not_shifted(distilled: Ltx2Model) -> None:
    distilled.render(small(), NO_CONDITIONS, ignore)
    sigmas = distilled._text_to_video.scheduler.sigmas
    assert torch.allclose(sigmas, torch.tensor([*DISTILLED_SIGMA_VALUES, 0.0]))
    assert distilled._image_to_video.scheduler is distilled._text_to_video.scheduler


def test_what_a_distilled_model_cannot_use_is_named(distilled: Ltx2Model) -> None:
    request = small(num_inference_steps=40, stg_scale_video=0.0)
    adjustments = distilled.find_adjustments(request)
    assert {(each.field, each.given, each.used) for each in adjustments} == {
        ("num_inference_steps", 40, 8),
        ("cfg_scale_video", None, 1.0),
        ("cfg_scale_audio", None, 1.0),
        ("modality_scale", None, 1.0),
    }
    (said,) = visible_to_client(adjustments)
    assert "distilled" in said.reason
    assert distilled.find_adjustments(apply_adjustments(request, adjustments)) == ()


def test_a_distilled_model_is_exact_when_it_is_asked_to_be_fast(distilled: Ltx2Model) -> None:
    request = small(quality="fast")
    said = [
        (each.field, each.used)
        for each in visible_to_client(distilled.find_adjustments(request))
        if each.given == "fast"
    ]
    assert said == [("quality", "exact")]
    distilled.render(request, NO_CONDITIONS, ignore)
    assert distilled.fast_summary == ""


def test_a_distilled_model_reports_the_steps_that_it_takes(distilled: Ltx2Model) -> None:
    reports: list[Progress] = []
    distilled.render(small(num_inference_steps=40), NO_CONDITIONS, reports.append)
    steps = [each.step for each in reports if each.stage is Stage.DENOISING]
    assert steps == sorted(steps)
    assert set(steps) == set(range(9))


def test_a_base_model_uses_what_is_asked_for(tmp_path: Path) -> None:
    base = Ltx2Model.load(str(build_2_3(tmp_path)), "cpu", tmp_path, ignore)
    assert base.find_adjustments(small()) == ()
    base.close()

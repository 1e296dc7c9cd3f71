"""Every family renders, from text and from a picture, what a plain call of diffusers renders, to the bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from PIL import Image

from models.adjustments import adjust, chosen_length, told
from models.label import draw_label
from models.ltx2 import Ltx2
from models.options import LoadOptions
from models.progress import Progress, Stage
from models.recipes import Training
from models.request import VideoRequest
from tests.models.conftest import ignore, small
from tests.models.families import BLOCKS, FAMILIES, build_2_3, build_2_5

UNGUIDED = {
    "guidance_scale": 1.0,
    "audio_guidance_scale": 1.0,
    "stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
}
"""All six: what is left out is guided, and one scale above its off value guides the picture too."""


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[family](tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Ltx2]:
    model = Ltx2.load(str(folder), "cpu", folder, ignore)
    yield model
    model.close()


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2]:
    """A checkpoint whose scheduler is still that of its base; the operator says what it is."""
    folder = build_2_3(tmp_path_factory.mktemp("distilled"))
    model = Ltx2.load(str(folder), "cpu", folder, ignore, LoadOptions(training=Training.DISTILLED))
    yield model
    model.close()


def picture() -> Image.Image:
    rng = np.random.default_rng(7)
    return Image.fromarray(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8))


def by_diffusers(
    folder: Path, request: VideoRequest, image: Image.Image | None, *, distilled: bool, **more: Any
) -> tuple[Any, Any]:
    """The video by the call that diffusers' documentation shows for the family: uint8 frames and the waveform."""
    pipe: Any = (LTX2Pipeline if image is None else LTX2ImageToVideoPipeline).from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    arguments: dict[str, Any] = {
        "guidance_scale": request.cfg_scale_video,
        "audio_guidance_scale": request.cfg_scale_audio,
        "stg_scale": request.stg_scale_video,
        "modality_scale": request.modality_scale,
        "spatio_temporal_guidance_blocks": [BLOCKS - 1],
        "num_inference_steps": request.num_inference_steps,
    }
    if distilled:
        arguments = {**UNGUIDED, "sigmas": DISTILLED_SIGMA_VALUES, "num_inference_steps": len(DISTILLED_SIGMA_VALUES)}
        pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
            pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
        )
    if image is not None:
        arguments["image"] = image
    video, audio = pipe(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        height=request.height,
        width=request.width,
        frame_rate=request.frame_rate,
        generator=torch.Generator().manual_seed(request.seed or 0),
        output_type="np",
        return_dict=False,
        **{"num_frames": request.num_frames, **arguments, **more},
    )
    return (video[0] * 255).round().astype(np.uint8), audio[0].float().numpy()


@pytest.mark.parametrize("image", [None, picture()], ids=["text", "image"])
def test_it_renders_what_diffusers_renders_to_the_bit(
    family: str, model: Ltx2, folder: Path, image: Image.Image | None
) -> None:
    request = small(num_frames=17, num_inference_steps=3)
    frames, sound = by_diffusers(folder, request, image, distilled="distilled" in family)
    draw_label(frames)
    rendered = model.render(request, image, ignore)
    assert np.array_equal(rendered.frames, frames)
    assert np.array_equal(rendered.sound, sound[:, : rendered.sound.shape[1]])
    assert 0 < np.abs(sound).mean() < 0.9, "sound that is cut to 1 everywhere is always equal"


@pytest.fixture(scope="module")
def choosing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ltx2, Path]]:
    """LTX-2.5, whose duration head can tell how long a video should be, and its folder."""
    folder = build_2_5(tmp_path_factory.mktemp("choosing"))
    model = Ltx2.load(str(folder), "cpu", folder, ignore)
    yield model, folder
    model.close()


@pytest.mark.parametrize("image", [None, picture()], ids=["text", "image"])
def test_a_length_that_is_left_to_the_model_is_the_one_that_diffusers_chooses(
    choosing: tuple[Ltx2, Path], image: Image.Image | None
) -> None:
    model, folder = choosing
    request = small(num_frames=49, length="auto")
    bounds = {"num_frames": None, "min_seconds": 49 / 25 / 2, "max_seconds": 49 / 25}
    frames, sound = by_diffusers(folder, request, image, distilled=False, **bounds)
    draw_label(frames)
    for _ in range(2):  # the second time its text is known
        rendered = model.render(request, image, ignore)
        assert 9 <= len(rendered.frames) < 49
        assert np.array_equal(rendered.frames, frames)
        assert np.array_equal(rendered.sound, sound[:, : rendered.sound.shape[1]])
    assert chosen_length(request, len(frames))[0].used == len(frames)


def test_the_model_chooses_no_more_frames_than_were_asked_for(choosing: tuple[Ltx2, Path]) -> None:
    model, _ = choosing
    assert model.find_adjustments(small(num_inference_steps=30, length="auto")) == ()
    for most in (9, 17, 20):
        assert 9 <= len(model.render(small(num_frames=most, length="auto"), None, ignore).frames) <= most


def test_a_model_that_cannot_choose_a_length_says_so(distilled: Ltx2) -> None:
    adjustments = distilled.find_adjustments(small(length="auto"))
    assert [(each.field, each.given, each.used) for each in told(adjustments) if each.field == "length"] == [
        ("length", "auto", "exact")
    ]
    assert len(distilled.render(small(length="auto"), None, ignore).frames) == 9


def test_the_sound_has_the_rate_of_the_family_s_vocoder(model: Ltx2) -> None:
    assert model.render(small(), None, ignore).sample_rate_hz == 48_000


def test_the_operator_s_word_does_what_the_scheduler_s_config_does(distilled: Ltx2, tmp_path: Path) -> None:
    frames, sound = by_diffusers(build_2_3(tmp_path), small(), None, distilled=True)
    draw_label(frames)
    rendered = distilled.render(small(), None, ignore)
    assert np.array_equal(rendered.frames, frames)
    assert np.array_equal(rendered.sound, sound[:, : rendered.sound.shape[1]])


def test_the_noise_levels_of_a_distilled_model_are_not_shifted(distilled: Ltx2) -> None:
    distilled.render(small(), None, ignore)
    sigmas = distilled._text_to_video.scheduler.sigmas
    assert torch.allclose(sigmas, torch.tensor([*DISTILLED_SIGMA_VALUES, 0.0]))
    assert distilled._image_to_video.scheduler is distilled._text_to_video.scheduler


def test_what_a_distilled_model_cannot_use_is_named(distilled: Ltx2) -> None:
    request = small(num_inference_steps=40, stg_scale_video=0.0)
    adjustments = distilled.find_adjustments(request)
    assert {(each.field, each.given, each.used) for each in adjustments} == {
        ("num_inference_steps", 40, 8),
        ("cfg_scale_video", None, 1.0),
        ("cfg_scale_audio", None, 1.0),
        ("modality_scale", None, 1.0),
    }
    (said,) = told(adjustments)
    assert "distilled" in said.reason
    assert distilled.find_adjustments(adjust(request, adjustments)) == ()


def test_a_distilled_model_is_exact_when_it_is_asked_to_be_fast(distilled: Ltx2) -> None:
    request = small(quality="fast")
    said = [(each.field, each.used) for each in told(distilled.find_adjustments(request)) if each.given == "fast"]
    assert said == [("quality", "exact")]
    distilled.render(request, None, ignore)
    assert distilled.left_out == ""


def test_a_distilled_model_reports_the_steps_that_it_takes(distilled: Ltx2) -> None:
    reports: list[Progress] = []
    distilled.render(small(num_inference_steps=40), None, reports.append)
    steps = [each.step for each in reports if each.stage is Stage.DENOISING]
    assert steps == sorted(steps)
    assert set(steps) == set(range(9))


def test_a_base_model_uses_what_is_asked_for(tmp_path: Path) -> None:
    base = Ltx2.load(str(build_2_3(tmp_path)), "cpu", tmp_path, ignore)
    assert base.find_adjustments(small()) == ()
    base.close()
